{#- Days from one date to another; negative when the second one is earlier. -#}
{% macro days_between(earlier, later) -%}
    {{ return(adapter.dispatch("days_between")(earlier, later)) }}
{%- endmacro %}

{% macro default__days_between(earlier, later) -%} datediff({{ later }}, {{ earlier }}) {%- endmacro %}

{% macro duckdb__days_between(earlier, later) -%} date_diff('day', {{ earlier }}, {{ later }}) {%- endmacro %}
