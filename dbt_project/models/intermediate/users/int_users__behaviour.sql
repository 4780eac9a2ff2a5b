{{ config(materialized="view") }}

with

    activity as (select * from {{ ref("int_users__activity") }}),

    surveys as (select * from {{ ref("int_users__surveys") }}),

    final as (
        select
            activity.user_id,
            activity.last_active_date,
            {{ days_between("activity.last_active_date", as_of()) }} as days_since_active,
            {{
                count_day_bits(
                    "activity.active_days_bits", days_between("activity.computed_on", as_of()) ~ " + 83"
                )
            }} as active_days_7d,
            {{
                count_day_bits(
                    "activity.active_days_bits", days_between("activity.computed_on", as_of()) ~ " + 60"
                )
            }} as active_days_30d,
            {{
                count_day_bits(
                    "activity.active_days_bits", days_between("activity.computed_on", as_of()) ~ " + 0"
                )
            }} as active_days_90d,
            activity.events_count_30d,
            activity.events_count_90d,
            activity.views_count_7d,
            activity.views_count_30d,
            activity.views_count_90d,
            activity.searches_count_7d,
            activity.searches_count_30d,
            activity.searches_count_90d,
            activity.carts_count_7d,
            activity.carts_count_30d,
            activity.last_cart_at,
            coalesce(
                activity.last_cart_date > {{ add_days(as_of(), -7) }}
                and (activity.last_paid_at is null or activity.last_paid_at < activity.last_cart_at),
                false
            ) as has_open_cart,
            activity.favourites_count_30d,
            activity.favourites_count_90d,
            activity.shares_count_30d,
            activity.shares_count_90d,
            activity.votes_count_90d,
            activity.comments_count_90d,
            activity.likes_count_90d,
            activity.reads_count_30d,
            activity.lives_count_30d,
            activity.lives_count_90d,
            coalesce(surveys.surveys_count, 0) as surveys_count,
            activity.sessions_count_30d,
            activity.top_touchpoint_90d,
            activity.usual_hour,
            activity.usual_weekday
        from activity
        left join surveys on activity.user_id = surveys.user_id
    )

select *
from final
