{{ config(meta={"dagster": {"ref": {"name": "funnel_metrics"}}}) }}
-- No step has more users than the one before; mature ones are among them; rates are shares within their
-- interval.
with
    metrics as (select * from {{ ref("funnel_metrics") }}),
    steps as (
        select
            *,
            lag(users) over (
                partition by funnel, period, period_start, breakdown, breakdown_value order by step
            ) as users_before,
            lag(mature_users) over (
                partition by funnel, period, period_start, breakdown, breakdown_value order by step
            ) as mature_users_before,
            lag(step) over (
                partition by funnel, period, period_start, breakdown, breakdown_value order by step
            ) as step_before
        from metrics
    ),
    final as (
        select *
        from steps
        where
            users > users_before
            or mature_users > mature_users_before
            or mature_users > users
            or step - coalesce(step_before, 0) <> 1
            or rate_from_previous not between rate_from_previous_low
            and rate_from_previous_high
            or rate_from_first not between rate_from_first_low
            and rate_from_first_high
            or rate_from_first not between 0
            and 1
            or rate_from_previous not between 0
            and 1
    )
select *
from final
