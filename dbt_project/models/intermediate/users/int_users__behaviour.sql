with

    users as (select user_id, {{ row_hash(["user_id"]) }} as owner_key from {{ ref("int_identity__users") }}),

    counts as (select * from {{ ref("int_users__activity_counts") }}),

    habits as (select * from {{ ref("int_users__habits") }}),

    surveys as (select * from {{ ref("stg_raw__surveys") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    survey_values as (
        select lookup.user_id, count(distinct surveys.response_id) as surveys_count
        from surveys
        inner join lookup on surveys.id_type = lookup.id_type and surveys.id = lookup.id
        where {{ happened("surveys.answered_at") }}
        group by lookup.user_id
    ),

    final as (
        select
            users.user_id,
            counts.last_active_date,
            {{ days_between("counts.last_active_date", as_of()) }} as days_since_active,
            {{
                count_day_bits(
                    "habits.active_days_bits", days_between("habits.computed_on", as_of()) ~ " + 83"
                )
            }} as active_days_7d,
            {{
                count_day_bits(
                    "habits.active_days_bits", days_between("habits.computed_on", as_of()) ~ " + 60"
                )
            }} as active_days_30d,
            {{
                count_day_bits(
                    "habits.active_days_bits", days_between("habits.computed_on", as_of()) ~ " + 0"
                )
            }} as active_days_90d,
            coalesce(counts.events_count_30d, 0) as events_count_30d,
            coalesce(counts.events_count_90d, 0) as events_count_90d,
            coalesce(counts.views_count_7d, 0) as views_count_7d,
            coalesce(counts.views_count_30d, 0) as views_count_30d,
            coalesce(counts.views_count_90d, 0) as views_count_90d,
            coalesce(counts.searches_count_7d, 0) as searches_count_7d,
            coalesce(counts.searches_count_30d, 0) as searches_count_30d,
            coalesce(counts.searches_count_90d, 0) as searches_count_90d,
            coalesce(counts.carts_count_7d, 0) as carts_count_7d,
            coalesce(counts.carts_count_30d, 0) as carts_count_30d,
            counts.last_cart_at,
            coalesce(
                counts.last_cart_date > {{ add_days(as_of(), -7) }}
                and (counts.last_paid_at is null or counts.last_paid_at < counts.last_cart_at),
                false
            ) as has_open_cart,
            coalesce(counts.favourites_count_30d, 0) as favourites_count_30d,
            coalesce(counts.favourites_count_90d, 0) as favourites_count_90d,
            coalesce(counts.shares_count_30d, 0) as shares_count_30d,
            coalesce(counts.shares_count_90d, 0) as shares_count_90d,
            coalesce(counts.votes_count_90d, 0) as votes_count_90d,
            coalesce(counts.comments_count_90d, 0) as comments_count_90d,
            coalesce(counts.likes_count_90d, 0) as likes_count_90d,
            coalesce(counts.reads_count_30d, 0) as reads_count_30d,
            coalesce(counts.lives_count_30d, 0) as lives_count_30d,
            coalesce(counts.lives_count_90d, 0) as lives_count_90d,
            coalesce(survey_values.surveys_count, 0) as surveys_count,
            coalesce(habits.sessions_count_30d, 0) as sessions_count_30d,
            habits.top_touchpoint_90d,
            habits.usual_hour,
            habits.usual_weekday
        from counts
        inner join users on counts.owner_key = users.owner_key
        left join habits on counts.owner_key = habits.owner_key
        left join survey_values on users.user_id = survey_values.user_id
    )

select *
from final
