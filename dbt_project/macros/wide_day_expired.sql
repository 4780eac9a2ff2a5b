{#-
    Whether user_wide_daily keeps a day no longer: it is older than history.wide_days, and not the last day of one of
    the history.wide_month_ends months before. Measured from the latest day in the table, and only when that is the day
    just built: a day that is filled in afterwards stays until the next later one.
    The same rule in Python: HistoryConfig.kept_wide_days.
-#}
{% macro wide_day_expired(day, relation) -%}
    {{ as_of() }} = (select max({{ day }}) from {{ relation }})
    and {{ day }} <= {{ add_days(as_of(), -1 * var("history_wide_days")) }}
    and not (
        month({{ add_days(day, 1) }}) <> month({{ day }})
        and (year({{ as_of() }}) - year({{ day }})) * 12 + month({{ as_of() }}) - month({{ day }})
        <= {{ var("history_wide_month_ends") }}
    )
{%- endmacro %}
