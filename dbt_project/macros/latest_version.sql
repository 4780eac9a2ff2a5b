{#-
    The latest version of each record known on as_of, with the day its first version arrived.
    `key`: columns that the versions of a record share; nulls equal nulls; an empty list means no two rows do.
    `optional_key`: rows without the (first) key column stand for themselves.
    `few_repeat`: the table is large and few keys occur twice; only rows whose key's hash repeats are ranked,
    which replaces a sort of the whole table by one hash-aggregate of integers; `_is_repeated` says which rows these are.
    `late`: condition that the row's own day lies on or before as_of. With the setting history.late_rows = include such
    rows count although they arrived later, and so do rows without a day of their own.
-#}
{% macro latest_version(relation, key, optional_key=false, few_repeat=false, late="true") -%}
    {%- set known = is_known(late) -%}
    {%- set same_key = "partition by " ~ key | join(", ") -%}
    {%- set version_number -%}
        row_number() over (
            {{ same_key }}
            order by
                _arrived_on desc nulls last,
                _taken_in_at desc nulls last,
                _record desc nulls last,
                _file_id desc nulls last
        )
    {%- endset -%}
    {%- set repeated -%}
        select {{ row_hash(key) }} as _key_hash
        from {{ relation }}
        where {{ known }}{% if optional_key %} and {{ key[0] }} is not null{% endif %}
        group by 1
        having count(*) > 1
    {%- endset -%}
    {%- if not key -%} select *, _arrived_on as _first_arrived_on from {{ relation }} where {{ known }}
    {%- elif few_repeat -%}
        with repeated as {{ computed_once() }} ({{ repeated }})
        select known.*, known._arrived_on as _first_arrived_on, 1 as _version, false as _is_repeated
        from (select *, {{ row_hash(key) }} as _key_hash from {{ relation }} where {{ known }}) as known
        left join repeated on repeated._key_hash = known._key_hash
        where repeated._key_hash is null{% if optional_key %} or known.{{ key[0] }} is null{% endif %}
        union all
        select *
        from
            (
                select
                    known.*,
                    min(known._arrived_on) over ({{ same_key }}) as _first_arrived_on,
                    {{ version_number }} as _version,
                    true as _is_repeated
                from
                    (
                        select *, {{ row_hash(key) }} as _key_hash from {{ relation }} where {{ known }}
                    ) as known
                inner join repeated on repeated._key_hash = known._key_hash
                {% if optional_key %} where known.{{ key[0] }} is not null
                {% endif %}
            ) as versions
        where _version = 1
    {%- else -%}
        select *
        from
            (
                select
                    *,
                    min(_arrived_on) over ({{ same_key }}) as _first_arrived_on,
                    {{ version_number }} as _version
                from {{ relation }}
                where {{ known }}
            ) as versions
        where _version = 1
    {%- endif -%}
{%- endmacro %}

{#- Whether a raw row counts on as_of. `late`: as above. -#}
{% macro is_known(late="true") -%}
    {%- set known = "_arrived_on <= " ~ as_of() -%}
    {%- if var("history_late_rows") == "include" -%} ({{ known }} or coalesce({{ late }}, true))
    {%- else -%} {{ known }}
    {%- endif -%}
{%- endmacro %}
