{#-
    What a running model with one row per `owner_key` yields from the CTE `computed`: all of it, or going forward the rows
    of the CTE `touched`, those that are no more as tombstones.
-#}
{% macro touched_rows(computed, forward) -%}
    {%- if not forward -%} select * from {{ computed }}
    {%- else -%}
        select
            touched.owner_key,
            {% for column in adapter.get_columns_in_relation(this) if column.name != "owner_key" %}
                {{ computed }}.{{ column.name }},
            {% endfor %}
            {{ computed }}.owner_key is null as is_gone
        from touched
        left join {{ computed }} on {{ computed }}.owner_key = touched.owner_key
    {%- endif -%}
{%- endmacro %}
