with
    entries as (select * from {{ ref("int_funnels__entries") }}),
    periods as (select * from {{ ref("int_funnels__periods") }}),
    steps as (select * from {{ ref("funnel_steps") }}),
    users as (select * from {{ ref("user_wide") }}),
    entries_in_periods as (
        select
            entries.*,
            periods.period,
            case
                when periods.period = 'day'
                then entries.entry_date
                when periods.period = 'week'
                then cast(date_trunc('week', entries.entry_date) as date)
                when periods.period = 'month'
                then cast(date_trunc('month', entries.entry_date) as date)
            end as period_start
        from entries
        inner join periods on entries.funnel = periods.funnel
    ),
    ranked_entries as (
        select
            *,
            row_number() over (
                partition by funnel, user_id, correlation_value, attempt_date, period, period_start
                order by level desc nulls last, completed_at asc nulls last, entered_at desc nulls last
            ) as entry_rank
        from entries_in_periods
    ),
    best_entries as (select * from ranked_entries where entry_rank = 1),
    splits as ({{ funnel_splits("best_entries", "users") }}),
    levels as (
        select
            splits.funnel,
            splits.period,
            splits.period_start,
            splits.breakdown,
            splits.breakdown_value,
            steps.step,
            steps.step_name,
            splits.level,
            splits.is_mature,
            case
                steps.step
                {% for step in range(2, 11) %}
                    when {{ step }} then splits.step_{{ step }}_seconds
                {% endfor %}
            end as seconds_from_previous
        from splits
        inner join steps on splits.funnel = steps.funnel
    ),
    counts as (
        select
            funnel,
            period,
            period_start,
            breakdown,
            breakdown_value,
            step,
            step_name,
            count(case when level >= step then 1 end) as users,
            count(case when level >= step and is_mature then 1 end) as mature_users,
            median(seconds_from_previous) as median_seconds_from_previous
        from levels
        group by funnel, period, period_start, breakdown, breakdown_value, step, step_name
    ),
    neighbours as (
        select
            *,
            lag(mature_users) over (
                partition by funnel, period, period_start, breakdown, breakdown_value order by step
            ) as mature_users_before,
            first_value(mature_users) over (
                partition by funnel, period, period_start, breakdown, breakdown_value order by step
            ) as mature_users_first
        from counts
    ),
    final as (
        select
            cast(funnel as varchar) as funnel,
            {{ as_of() }} as as_of_date,
            cast(period as varchar) as period,
            cast(period_start as date) as period_start,
            cast(breakdown as varchar) as breakdown,
            cast(breakdown_value as varchar) as breakdown_value,
            cast(step as integer) as step,
            cast(step_name as varchar) as step_name,
            cast(users as bigint) as users,
            cast(mature_users as bigint) as mature_users,
            cast(mature_users as double) / nullif(mature_users_before, 0) as rate_from_previous,
            {{ funnel_wilson("mature_users", "mature_users_before", "-") }} as rate_from_previous_low,
            {{ funnel_wilson("mature_users", "mature_users_before", "+") }} as rate_from_previous_high,
            cast(mature_users as double) / nullif(mature_users_first, 0) as rate_from_first,
            {{ funnel_wilson("mature_users", "mature_users_first", "-") }} as rate_from_first_low,
            {{ funnel_wilson("mature_users", "mature_users_first", "+") }} as rate_from_first_high,
            cast(median_seconds_from_previous as double) as median_seconds_from_previous
        from neighbours
    )
select *
from final
