{{ config(meta={"dagster": {"ref": {"name": "funnel_metrics"}}}) }}
-- The whole is what funnel_users holds; breakdown values add up to the whole; a period has no more users
-- than the
-- whole, and all periods of a kind have no fewer (a user may count in several).
with
    metrics as (select * from {{ ref("funnel_metrics") }}),
    funnel_users as (select * from {{ ref("funnel_users") }}),
    funnel_steps as (select * from {{ ref("funnel_steps") }}),
    from_users as (
        select
            steps.funnel,
            steps.step,
            count(case when users.level >= steps.step then 1 end) as users,
            count(case when users.level >= steps.step and users.is_mature then 1 end) as mature_users
        from funnel_steps as steps
        inner join funnel_users as users on steps.funnel = users.funnel
        group by steps.funnel, steps.step
    ),
    -- By an empty day for the period that has no start, so that sides join.
    sums as (
        select
            funnel,
            period,
            coalesce(period_start, cast('0001-01-01' as date)) as period_start,
            breakdown,
            step,
            sum(users) as users,
            sum(mature_users) as mature_users
        from metrics
        group by funnel, period, period_start, breakdown, step
    ),
    wholes as (select * from sums where breakdown = 'all'),
    differs_from_users as (
        select wholes.funnel, wholes.step, 'the whole differs from funnel_users' as problem
        from (select * from wholes where period = 'all') as wholes
        left join from_users on wholes.funnel = from_users.funnel and wholes.step = from_users.step
        where
            from_users.funnel is null
            or from_users.users <> wholes.users
            or from_users.mature_users <> wholes.mature_users
    ),
    differs_from_whole as (
        select sums.funnel, sums.step, 'values of a breakdown do not add up' as problem
        from sums
        left join
            wholes
            on sums.funnel = wholes.funnel
            and sums.period = wholes.period
            and sums.period_start = wholes.period_start
            and sums.step = wholes.step
        where wholes.funnel is null or sums.users <> wholes.users or sums.mature_users <> wholes.mature_users
    ),
    periods as (
        select funnel, period, step, max(users) as most_users, sum(users) as all_users
        from wholes
        where period <> 'all'
        group by funnel, period, step
    ),
    differs_from_all as (
        select periods.funnel, periods.step, 'periods do not fit the whole' as problem
        from periods
        inner join from_users on periods.funnel = from_users.funnel and periods.step = from_users.step
        where periods.most_users > from_users.users or periods.all_users < from_users.users
    ),
    final as (
        select *
        from differs_from_users
        union all
        select *
        from differs_from_whole
        union all
        select *
        from differs_from_all
    )
select *
from final
