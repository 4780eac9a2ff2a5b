with

    users as (select user_id, {{ row_hash(["user_id"]) }} as owner_key from {{ ref("int_identity__users") }}),

    counts as (select * from {{ ref("int_users__activity_counts") }}),

    final as (
        select
            users.user_id,
            counts.searches_count_7d,
            counts.searches_count_90d,
            counts.favourites_count_90d,
            counts.shares_count_90d,
            counts.votes_count_90d,
            counts.comments_count_90d,
            counts.likes_count_90d,
            counts.lives_count_90d,
            counts.touches_sent_count_7d,
            counts.touches_sent_count_30d,
            counts.touches_sent_count_90d,
            counts.touches_delivered_count_7d,
            counts.touches_delivered_count_30d,
            counts.touches_delivered_count_90d,
            counts.touches_opened_count_7d,
            counts.touches_opened_count_30d,
            counts.touches_opened_count_90d,
            counts.touches_clicked_count_7d,
            counts.touches_clicked_count_30d,
            counts.touches_clicked_count_90d,
            counts.touches_replied_count_7d,
            counts.touches_replied_count_30d,
            counts.touches_replied_count_90d,
            counts.touches_unsubscribed_count_7d,
            counts.touches_unsubscribed_count_30d,
            counts.touches_unsubscribed_count_90d,
            counts.events_count_90d
        from counts
        inner join users on counts.owner_key = users.owner_key
    )

select *
from final
