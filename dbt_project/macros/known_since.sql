{#-
    Adds `_known_since`: the day the first version of each record arrived. `_first_arrived_on` of `relation` says it for
    the rows just read; going forward, a record may be held from before.
-#}
{% macro known_since(relation, key) -%}
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
                from {{ this }} as held
                inner join
                    (select distinct {{ key | join(", ") }} from {{ relation }}) as arrived
                    on {% for name in key %}
                        held.{{ name }} = arrived.{{ name }} {% if not loop.last %} and {% endif %}
                    {% endfor %}
                group by {% for name in key %} held.{{ name }}{% if not loop.last %}, {% endif %} {% endfor %}
            ) as held
            on {% for name in key %}
                held.{{ name }} = {{ relation }}.{{ name }} {% if not loop.last %} and {% endif %}
            {% endfor %}
    {%- endif -%}
{%- endmacro %}
