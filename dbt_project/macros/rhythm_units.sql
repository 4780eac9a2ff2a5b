{#- The columns of a user's rhythm: one per hour of the day and per day of the week, as (unit, number). -#}
{% macro rhythm_units() -%}
    {%- set units = [] -%}
    {%- for hour in range(24) -%} {%- do units.append(("hour", hour)) -%} {%- endfor -%}
    {%- for weekday in range(1, 8) -%} {%- do units.append(("weekday", weekday)) -%} {%- endfor -%}
    {{ return(units) }}
{%- endmacro %}
