{#- Whole seconds from one timestamp to another; negative when the second one is earlier. -#}
{% macro seconds_between(earlier, later) -%}
    {{ return(adapter.dispatch("seconds_between")(earlier, later)) }}
{%- endmacro %}

{% macro default__seconds_between(earlier, later) -%}
    (unix_timestamp({{ later }}) - unix_timestamp({{ earlier }}))
{%- endmacro %}

{% macro duckdb__seconds_between(earlier, later) -%}
    date_diff('second', {{ earlier }}, {{ later }})
{%- endmacro %}
