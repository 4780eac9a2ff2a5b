{#- Whether a query, run now, yields any row. -#}
{% macro has_rows(query) -%}
    {%- set found = run_query("select count(*) from (" ~ query ~ " limit 1) as found") -%}
    {{ return(found.columns[0].values()[0] > 0) }}
{%- endmacro %}
