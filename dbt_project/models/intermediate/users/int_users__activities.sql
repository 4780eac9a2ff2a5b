with

    activity as (select * from {{ ref("int_activity") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),

    -- One pass over the stream, then ten times fewer rows to turn into columns.
    counted as (
        select
            user_id,
            activity,
            min(occurred_at) as first_at,
            max(occurred_at) as last_at,
            max(activity_date) as last_date,
            count(*) as total_count,
            count(*) filter (where activity_date > {{ add_days(as_of(), -7) }}) as count_7d,
            count(*) filter (where activity_date > {{ add_days(as_of(), -30) }}) as count_30d,
            count(*) filter (where activity_date > {{ add_days(as_of(), -90) }}) as count_90d
        from activity
        where activity_date <= {{ as_of() }}
        group by user_id, activity
    ),

    final as (
        select counted.*, passive_activities.activity is null as is_own
        from counted
        left join passive_activities on counted.activity = passive_activities.activity
    )

select *
from final
