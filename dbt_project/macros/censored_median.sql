{#-
    The median of intervals of which the last one is still open: one row per key with `median_interval_days`.

    `intervals`: relation with the key and interval_days, the closed ones; `spells`: relation with the key (once) and
    open_days, how long the open one has lasted. The product-limit estimate (Kaplan and Meier 1958) with the open
    interval censored at open_days: the shortest interval by which at least half have ended. With n closed intervals
    in rising order and m of them no longer than the open one, the share that lasts longer than the i-th is
    (n + 1 - i) / (n + 1) up to i = m, after that (n + 1 - m) / (n + 1) * (n - i) / (n - m); compared in whole numbers.
-#}
{% macro censored_median(intervals, spells, key) -%}
    {%- set interval_key = "intervals." ~ key | join(", intervals.") -%}
    select {{ key | join(", ") }}, min(interval_days) as median_interval_days
    from
        (
            select
                {{ interval_key }},
                intervals.interval_days,
                row_number() over (
                    partition by {{ interval_key }} order by intervals.interval_days asc nulls last
                ) as interval_number,
                count(*) over (partition by {{ interval_key }}) as closed_count,
                sum(case when intervals.interval_days <= spells.open_days then 1 else 0 end) over (
                    partition by {{ interval_key }}
                ) as outlasted_count
            from {{ intervals }} as intervals
            inner join
                {{ spells }} as spells
                on {% for column in key %}
                    intervals.{{ column }} = spells.{{ column }} {% if not loop.last %} and {% endif %}
                {% endfor %}
        ) as ranked
    where
        case
            when interval_number <= outlasted_count
            then 2 * (closed_count + 1 - interval_number) <= closed_count + 1
            else
                2 * (closed_count + 1 - outlasted_count) * (closed_count - interval_number)
                <= (closed_count + 1) * (closed_count - outlasted_count)
        end
    group by {{ key | join(", ") }}
{%- endmacro %}
