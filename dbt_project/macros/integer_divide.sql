{#- Quotient of two whole numbers without remainder, computed without floating point. -#}
{% macro integer_divide(dividend, divisor) -%}
    {{ return(adapter.dispatch("integer_divide")(dividend, divisor)) }}
{%- endmacro %}

{% macro default__integer_divide(dividend, divisor) -%} ({{ dividend }}) div({{ divisor }}) {%- endmacro %}

{#- The function, not the operator: two slashes begin a comment for dbt when it puts unit-test inputs in. -#}
{% macro duckdb__integer_divide(dividend, divisor) -%} divide({{ dividend }}, {{ divisor }}) {%- endmacro %}
