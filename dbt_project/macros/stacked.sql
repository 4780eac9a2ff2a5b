{#-
    What a table says side by side, one below the other: for each row of `relation` (with its columns `keep`) one row per
    entry of `rows`, a list of SQL expressions, one for each of `columns`. One pass over the table, however many entries.
-#}
{% macro stacked(relation, keep, columns, rows) -%}
    {{ return(adapter.dispatch("stacked")(relation, keep, columns, rows)) }}
{%- endmacro %}

{% macro default__stacked(relation, keep, columns, rows) -%}
    {%- for row in rows %}
        {%- if not loop.first %}
            union all
        {%- endif %}
        select
            {%- for column in keep %} {{ column }},{% endfor %}
            {%- for column in columns %}
                {{ row[loop.index0] }} as {{ column }}{{ "," if not loop.last }}
            {% endfor %}
        from {{ relation }}
    {%- endfor %}
{%- endmacro %}

{% macro duckdb__stacked(relation, keep, columns, rows) -%}
    select
        {%- for column in keep %} {{ column }},{% endfor %}
        {%- for column in columns %}
            unnest(
                [{{ rows | map(attribute=loop.index0) | join(", ") }}]
            ) as {{ column }}{{ "," if not loop.last }}
        {%- endfor %}
    from {{ relation }}
{%- endmacro %}
