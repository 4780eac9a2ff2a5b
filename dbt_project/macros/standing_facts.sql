{#- Columns of all rows of the activity stream that stand, from the CTEs `tracked` and `dealings`. -#}
{% macro standing_facts(columns, condition="true") -%}
    select {{ columns | join(", ") }}
    from tracked
    where removed_on is null and {{ condition }}
    union all
    select {{ columns | join(", ") }}
    from dealings
    where removed_on is null and {{ condition }}
{%- endmacro %}

{#- Rows of the activity stream that count for as_of and did not for `forward_from()`. -#}
{% macro is_added() -%} added_on > {{ forward_from() }} and removed_on is null {%- endmacro %}

{#- Rows that counted for `forward_from()` and do no longer: another version replaced them, or they were withdrawn. -#}
{% macro is_removed() -%}
    removed_on > {{ forward_from() }} and added_on <= {{ forward_from() }}
{%- endmacro %}

{#- Rows that have left the window of so many days since `forward_from()`. -#}
{% macro is_expiring(days) -%}
    activity_date > {{ add_days(forward_from(), -days) }}
    and activity_date <= {{ add_days(as_of(), -days) }}
    and added_on <= {{ forward_from() }}
    and removed_on is null
{%- endmacro %}
