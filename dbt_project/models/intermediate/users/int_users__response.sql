{{ config(materialized="view") }}

with

    activity as (select * from {{ ref("int_users__activity") }} where has_touches),

    final as (
        select
            user_id,
            last_touch_sent_date,
            {%- for status in ["sent", "delivered", "opened", "clicked", "replied", "unsubscribed"] %}
                {%- for days in [7, 30, 90] %} touches_{{ status }}_count_{{ days }}d, {%- endfor %}
            {%- endfor %}
            cast(messages_opened_count as double) / nullif(messages_delivered_count, 0) as open_rate_90d,
            cast(messages_clicked_count as double) / nullif(messages_delivered_count, 0) as click_rate_90d
        from activity
    )

select *
from final
