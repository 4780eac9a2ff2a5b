{#-
    Every version of the records of an input table that counted at the end of some business day up to as_of, with the
    stretch of days it counted for: the first day in_force_from, and in_force_until, the day from which it did not
    (open_end() for the version that counts on as_of, which is the one in staging).

    A version counts from its arrival until a later version of the record arrives or its landing file is replaced;
    when the file of the later version is replaced in turn and the record is not in it any more, the version before
    counts again, with another row here.
    `columns`: columns of the raw table. `among`: a relation of key_hash; only records with such a key are taken.
    `relation`: raw rows to read instead of all that ever arrived.
-#}
{% macro record_versions(table, columns, among=none, relation=none) -%}
    {%- set key = record_key(table) -%}
    {%- set keys = [] -%}
    {%- for part in key -%} {%- do keys.append("_key_" ~ loop.index) -%} {%- endfor -%}
    {%- set listed = columns | join(", ") -%}
    select {{ listed }}, in_force_from, in_force_until
    from
        (
            with
                given as (
                    select
                        {% for column in columns %} raw.{{ column }}, {% endfor %}
                        {% for part in key %} {{ part }} as {{ keys[loop.index0] }}, {% endfor %}
                        raw._arrived_on,
                        raw._taken_in_at,
                        raw._record,
                        raw._file_id,
                        coalesce(replaced.replaced_on, {{ open_end() }}) as _file_until
                    from {{ relation or ever_arrived(table) }} as raw
                    left join
                        {{ replaced_files(table) }} as replaced on replaced.taken_in_at = raw._taken_in_at
                    where
                        raw._arrived_on <= {{ as_of() }}
                        and raw._arrived_on < coalesce(replaced.replaced_on, {{ open_end() }})
                        {% if among %}
                            and {{ row_hash(key) }} in (select key_hash from {{ among }})
                        {% endif %}
                ),
                numbered as (
                    select
                        *,
                        row_number() over versions as _version,
                        coalesce(lead(_arrived_on) over versions, {{ open_end() }}) as _next_on,
                        max(_file_until) over (
                            versions rows between unbounded preceding and 1 preceding
                        ) as _earlier_until
                    from given
                    window
                        versions as (
                            partition by {{ keys | join(", ") }}
                            order by
                                _arrived_on nulls last,
                                _taken_in_at nulls last,
                                _record nulls last,
                                _file_id nulls last
                        )
                ),
                -- Days after a version's file was replaced and before the next version came, that an earlier
                -- version may fill.
                gaps as (
                    select {{ keys | join(", ") }}, _version, _file_until as _gap_from, _next_on as _gap_until
                    from numbered
                    where _file_until < _next_on and _earlier_until > _file_until
                ),
                fillers as (
                    select
                        numbered.*,
                        gaps._gap_from,
                        gaps._gap_until,
                        max(numbered._file_until) over (
                            partition by {% for name in keys %} gaps.{{ name }}, {% endfor %} gaps._version
                            order by numbered._version desc nulls last
                            rows between unbounded preceding and 1 preceding
                        ) as _later_until
                    from gaps
                    inner join
                        numbered
                        on numbered._version < gaps._version
                        and numbered._file_until > gaps._gap_from
                        {% for name in keys %}
                            and numbered.{{ name }} is not distinct from gaps.{{ name }}
                        {% endfor %}
                ),
                stretches as (
                    select
                        {{ listed }},
                        _arrived_on as in_force_from,
                        least(_file_until, _next_on) as in_force_until
                    from numbered
                    union all
                    select
                        {{ listed }},
                        greatest(_gap_from, coalesce(_later_until, _gap_from)) as in_force_from,
                        least(_file_until, _gap_until) as in_force_until
                    from fillers
                )
            select *
            from stretches
            where in_force_from < in_force_until
        ) as versions
{%- endmacro %}
