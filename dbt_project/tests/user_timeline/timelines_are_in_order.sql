{{ config(meta={"dagster": {"ref": {"name": "user_timeline"}}}) }}
-- Positions are 1 to n, newest first, nothing is later than as_of, and no kind is longer than the setting.
with
    timeline as (
        select *, lag(occurred_at) over (partition by user_id order by position asc nulls last) as newer_at
        from {{ ref("user_timeline") }}
    ),
    users as (
        select
            user_id,
            count(*) as rows_count,
            count(distinct position) as positions_count,
            max(position) as last_position,
            count(touch_id) as touches_count
        from timeline
        group by user_id
    ),
    failures as (
        select user_id, 'order' as problem
        from timeline
        where newer_at < occurred_at or not {{ happened("occurred_at") }}
        union all
        select user_id, 'positions' as problem
        from users
        where
            rows_count <> positions_count
            or last_position <> rows_count
            or touches_count > {{ var("timeline_activities") }}
            or rows_count - touches_count > {{ var("timeline_activities") }}
    )
select *
from failures
