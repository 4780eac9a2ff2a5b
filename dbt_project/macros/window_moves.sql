{#-
    What changes in the window of 90 days from `forward_from()` to as_of, from the CTEs `tracked` and `dealings`: rows that came
    into it (`step` 1), rows that left it (-1), and rows that were taken back (`is_removed`, 0). One scan per reason, so that
    each reads only the part of the stream that can hold its rows.
-#}
{% macro window_moves(columns, condition="true") -%}
    {%- for part in ["tracked", "dealings"] %}
        select {{ columns | join(", ") }}, 1 as step, false as is_removed
        from {{ part }}
        where {{ is_added() }} and activity_date > {{ add_days(as_of(), -90) }} and {{ condition }}
        union all
        select {{ columns | join(", ") }}, -1 as step, false as is_removed
        from {{ part }}
        where {{ is_expiring(90) }} and {{ condition }}
        union all
        select {{ columns | join(", ") }}, 0 as step, true as is_removed
        from {{ part }}
        where {{ is_removed() }} and {{ condition }}
        {% if not loop.last %}
            union all
        {% endif %}
    {%- endfor %}
{%- endmacro %}

{#- The columns of a user's rhythm: one per hour of the day and per day of the week, as (unit, number). -#}
{% macro rhythm_units() -%}
    {%- set units = [] -%}
    {%- for hour in range(24) -%} {%- do units.append(("hour", hour)) -%} {%- endfor -%}
    {%- for weekday in range(1, 8) -%} {%- do units.append(("weekday", weekday)) -%} {%- endfor -%}
    {{ return(units) }}
{%- endmacro %}
