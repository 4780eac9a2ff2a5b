{#- The same day some years later; 29 February becomes 28 February in a year that has none. -#}
{% macro add_years(date, years) -%} {{ return(adapter.dispatch("add_years")(date, years)) }} {%- endmacro %}

{% macro default__add_years(date, years) -%}
    add_months({{ date }}, cast(12 * ({{ years }}) as int))
{%- endmacro %}

{% macro duckdb__add_years(date, years) -%}
    cast({{ date }} + to_years(cast({{ years }} as integer)) as date)
{%- endmacro %}
