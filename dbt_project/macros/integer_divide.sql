{#- Quotient of two whole numbers without remainder, computed without floating point. -#}
{% macro integer_divide(dividend, divisor) -%}
    {{ return(adapter.dispatch("integer_divide")(dividend, divisor)) }}
{%- endmacro %}

{% macro default__integer_divide(dividend, divisor) -%} ({{ dividend }}) div({{ divisor }}) {%- endmacro %}

{% macro duckdb__integer_divide(dividend, divisor) -%}({{ dividend }})  -- ({{ divisor }}) {%- endmacro %}
