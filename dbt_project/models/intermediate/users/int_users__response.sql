with

    users as (select user_id, {{ row_hash(["user_id"]) }} as owner_key from {{ ref("int_identity__users") }}),

    counts as (select * from {{ ref("int_users__activity_counts") }} where has_touches),

    touches as (select * from {{ ref("int_users__touches") }}),

    final as (
        select
            users.user_id,
            counts.last_touch_sent_date,
            {%- for status in ["sent", "delivered", "opened", "clicked", "replied", "unsubscribed"] %}
                {%- for days in [7, 30, 90] %} counts.touches_{{ status }}_count_{{ days }}d, {%- endfor %}
            {%- endfor %}
            cast(touches.delivered_opened_count as double)
            / nullif(touches.delivered_count, 0) as open_rate_90d,
            cast(touches.delivered_clicked_count as double)
            / nullif(touches.delivered_count, 0) as click_rate_90d
        from counts
        inner join users on counts.owner_key = users.owner_key
        left join touches on counts.owner_key = touches.owner_key
    )

select *
from final
