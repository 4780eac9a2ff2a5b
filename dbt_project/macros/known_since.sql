{#-
    Adds `_known_since`: the day the first version of each record arrived. `_first_arrived_on` of `relation` says it for
    the rows just read; going forward, a record may be held from before, unless a landing file of it was replaced.
-#}
{% macro known_since(relation, table, key=none) -%}
    {%- set key = key or record_key(table) -%}
    {%- if not is_forward() -%} select *, _first_arrived_on as _known_since from {{ relation }}
    {%- else -%}
        select {{ relation }}.*, coalesce(held._known_since, {{ relation }}._first_arrived_on) as _known_since
        from {{ relation }}
        left join
            (
                select
                    {% for name in key %} held.{{ name }},
                    {% endfor %}
                    min(held._first_arrived_on) as _known_since
                from
                    {% if has_replaced(table) %}
                        (
                            select *
                            from {{ this }}
                            where {{ row_hash(record_key(table)) }} not in ({{ replaced_keys(table) }})
                        ) as held
                    {% else %} {{ this }} as held
                    {% endif %}
                inner join
                    (select distinct {{ key | join(", ") }} from {{ relation }}) as arrived
                    on {{ equal_keys(key, "held", "arrived") }}
                group by {% for name in key %} held.{{ name }}{% if not loop.last %}, {% endif %} {% endfor %}
            ) as held
            on {{ equal_keys(key, "held", relation) }}
    {%- endif -%}
{%- endmacro %}
