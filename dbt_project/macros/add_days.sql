{#- A date some days later (earlier for a negative number). -#}
{% macro add_days(date, days) -%} {{ return(adapter.dispatch("add_days")(date, days)) }} {%- endmacro %}

{% macro default__add_days(date, days) -%} date_add({{ date }}, {{ days }}) {%- endmacro %}

{% macro duckdb__add_days(date, days) -%}({{ date }} + cast({{ days }} as integer)) {%- endmacro %}
