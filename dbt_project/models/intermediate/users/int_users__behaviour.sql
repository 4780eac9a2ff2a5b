with

    activity as (select * from {{ ref("int_activity") }}),

    activities as (select * from {{ ref("int_users__activities") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),

    surveys as (select * from {{ ref("stg_raw__surveys") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    pivoted as (
        select
            user_id,
            max(last_date) filter (where is_own) as last_active_date,
            sum(count_30d) filter (where is_own) as events_count_30d,
            sum(count_7d) filter (where activity = 'view') as views_count_7d,
            sum(count_30d) filter (where activity = 'view') as views_count_30d,
            sum(count_90d) filter (where activity = 'view') as views_count_90d,
            sum(count_30d) filter (where activity = 'search') as searches_count_30d,
            sum(count_7d) filter (where activity = 'cart') as carts_count_7d,
            sum(count_30d) filter (where activity = 'cart') as carts_count_30d,
            max(last_at) filter (where activity = 'cart') as last_cart_at,
            max(last_date) filter (where activity = 'cart') as last_cart_date,
            max(last_at) filter (where activity = 'order_paid') as last_paid_at,
            sum(count_30d) filter (where activity = 'favourite') as favourites_count_30d,
            sum(count_30d) filter (where activity = 'share') as shares_count_30d,
            sum(count_30d) filter (where activity = 'read') as reads_count_30d,
            sum(count_30d) filter (where activity = 'live_enter') as lives_count_30d
        from activities
        group by user_id
    ),

    -- The time zone is looked up for each quarter of an hour, not for each activity.
    quarter_hours as (
        select
            {{ quarter_hour("occurred_at") }} as quarter_hour,
            {{ business_hour("min(occurred_at)") }} as activity_hour
        from activity
        where activity_date > {{ add_days(as_of(), -90) }} and activity_date <= {{ as_of() }}
        group by 1
    ),

    recent as (
        select
            activity.user_id,
            activity.activity_date,
            quarter_hours.activity_hour,
            activity.touchpoint,
            count(*) as activities_count
        from activity
        inner join quarter_hours on {{ quarter_hour("activity.occurred_at") }} = quarter_hours.quarter_hour
        left join passive_activities on activity.activity = passive_activities.activity
        where
            passive_activities.activity is null
            and activity.activity_date > {{ add_days(as_of(), -90) }}
            and activity.activity_date <= {{ as_of() }}
        group by activity.user_id, activity.activity_date, quarter_hours.activity_hour, activity.touchpoint
    ),

    days as (
        select user_id, activity_date, sum(activities_count) as activities_count
        from recent
        group by user_id, activity_date
    ),

    day_values as (
        select
            user_id,
            count(*) filter (where activity_date > {{ add_days(as_of(), -7) }}) as active_days_7d,
            count(*) filter (where activity_date > {{ add_days(as_of(), -30) }}) as active_days_30d,
            count(*) as active_days_90d
        from days
        group by user_id
    ),

    touchpoints as (
        select
            user_id,
            touchpoint,
            row_number() over (
                partition by user_id
                order by
                    sum(activities_count) desc nulls last,
                    max(activity_date) desc nulls last,
                    touchpoint asc nulls last
            ) as touchpoint_rank
        from recent
        where touchpoint is not null
        group by user_id, touchpoint
    ),

    top_touchpoints as (select user_id, touchpoint from touchpoints where touchpoint_rank = 1),

    hours as (
        select
            user_id,
            activity_hour,
            row_number() over (
                partition by user_id
                order by sum(activities_count) desc nulls last, activity_hour asc nulls last
            ) as hour_rank
        from recent
        group by user_id, activity_hour
    ),

    usual_hours as (select user_id, activity_hour from hours where hour_rank = 1),

    day_weekdays as (
        select user_id, {{ iso_weekday("activity_date") }} as activity_weekday, activities_count from days
    ),

    weekdays as (
        select
            user_id,
            activity_weekday,
            row_number() over (
                partition by user_id
                order by sum(activities_count) desc nulls last, activity_weekday asc nulls last
            ) as weekday_rank
        from day_weekdays
        group by user_id, activity_weekday
    ),

    usual_weekdays as (select user_id, activity_weekday from weekdays where weekday_rank = 1),

    sessions as (
        select user_id, session_id
        from activity
        where
            session_id is not null
            and activity_date > {{ add_days(as_of(), -30) }}
            and activity_date <= {{ as_of() }}
        group by user_id, session_id
    ),

    session_values as (select user_id, count(*) as sessions_count_30d from sessions group by user_id),

    survey_values as (
        select lookup.user_id, count(distinct surveys.response_id) as surveys_count
        from surveys
        inner join lookup on surveys.id_type = lookup.id_type and surveys.id = lookup.id
        where {{ happened("surveys.answered_at") }}
        group by lookup.user_id
    ),

    final as (
        select
            pivoted.user_id,
            pivoted.last_active_date,
            {{ days_between("pivoted.last_active_date", as_of()) }} as days_since_active,
            coalesce(day_values.active_days_7d, 0) as active_days_7d,
            coalesce(day_values.active_days_30d, 0) as active_days_30d,
            coalesce(day_values.active_days_90d, 0) as active_days_90d,
            coalesce(pivoted.events_count_30d, 0) as events_count_30d,
            coalesce(pivoted.views_count_7d, 0) as views_count_7d,
            coalesce(pivoted.views_count_30d, 0) as views_count_30d,
            coalesce(pivoted.views_count_90d, 0) as views_count_90d,
            coalesce(pivoted.searches_count_30d, 0) as searches_count_30d,
            coalesce(pivoted.carts_count_7d, 0) as carts_count_7d,
            coalesce(pivoted.carts_count_30d, 0) as carts_count_30d,
            pivoted.last_cart_at,
            coalesce(
                pivoted.last_cart_date > {{ add_days(as_of(), -7) }}
                and (pivoted.last_paid_at is null or pivoted.last_paid_at < pivoted.last_cart_at),
                false
            ) as has_open_cart,
            coalesce(pivoted.favourites_count_30d, 0) as favourites_count_30d,
            coalesce(pivoted.shares_count_30d, 0) as shares_count_30d,
            coalesce(pivoted.reads_count_30d, 0) as reads_count_30d,
            coalesce(pivoted.lives_count_30d, 0) as lives_count_30d,
            coalesce(survey_values.surveys_count, 0) as surveys_count,
            coalesce(session_values.sessions_count_30d, 0) as sessions_count_30d,
            top_touchpoints.touchpoint as top_touchpoint_90d,
            usual_hours.activity_hour as usual_hour,
            usual_weekdays.activity_weekday as usual_weekday
        from pivoted
        left join day_values on pivoted.user_id = day_values.user_id
        left join session_values on pivoted.user_id = session_values.user_id
        left join survey_values on pivoted.user_id = survey_values.user_id
        left join top_touchpoints on pivoted.user_id = top_touchpoints.user_id
        left join usual_hours on pivoted.user_id = usual_hours.user_id
        left join usual_weekdays on pivoted.user_id = usual_weekdays.user_id
    )

select *
from final
