{{ config(meta={"dagster": {"ref": {"name": "funnel_users"}}}) }}
-- Each attempt once; its level is a step of its funnel; it does not end before it starts or after its window.
with
    funnel_users as (select * from {{ ref("funnel_users") }}),
    funnel_steps as (select * from {{ ref("funnel_steps") }}),
    funnels as (
        select funnel, max(step) as steps_count, max(window_seconds) as window_seconds, max(entry) as entry
        from funnel_steps
        group by funnel
    ),
    repeated as (
        select funnels.funnel, users.user_id, 'more than one row' as problem
        from funnel_users as users
        inner join funnels on users.funnel = funnels.funnel
        group by
            funnels.funnel,
            users.user_id,
            users.correlation_value,
            case when funnels.entry = 'per_day' then {{ business_date("users.entered_at") }} end
        having count(*) > 1
    ),
    impossible as (
        select users.funnel, users.user_id, 'level or moments that cannot be' as problem
        from funnel_users as users
        left join funnels on users.funnel = funnels.funnel
        where
            funnels.funnel is null
            or users.level < 1
            or users.level > funnels.steps_count
            or users.completed_at < users.entered_at
            or {{ funnel_microseconds("users.completed_at") }} - {{ funnel_microseconds("users.entered_at") }}
            > funnels.window_seconds * 1000000
    ),
    final as (
        select *
        from repeated
        union all
        select *
        from impossible
    )
select *
from final
