with

    touches as (select * from {{ ref("stg_raw__touches") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    dated as (
        select
            lookup.user_id,
            touches.touch_id,
            lower(trim(touches.status)) as status,
            {{ business_date("touches.occurred_at") }} as occurred_date
        from touches
        inner join lookup on touches.id_type = lookup.id_type and touches.id = lookup.id
        where {{ happened("touches.occurred_at") }}
    ),

    user_touches as (
        select
            user_id,
            touch_id,
            {%- for status in ["sent", "delivered", "opened", "clicked", "replied", "unsubscribed"] %}
                max(case when status = '{{ status }}' then occurred_date end) as {{ status }}_date
                {%- if not loop.last %},{% endif %}
            {%- endfor %}
        from dated
        group by user_id, touch_id
    ),

    counted as (
        select
            user_id,
            max(sent_date) as last_touch_sent_date,
            count(*) filter (where sent_date > {{ add_days(as_of(), -30) }}) as touches_sent_count_30d,
            {%- for status in ["sent", "delivered", "opened", "clicked", "replied", "unsubscribed"] %}
                count(*) filter (
                    where {{ status }}_date > {{ add_days(as_of(), -90) }}
                ) as touches_{{ status }}_count_90d,
            {%- endfor %}
            -- Rates follow the touches delivered in the window, so none is above 1.
            count(*) filter (
                where delivered_date > {{ add_days(as_of(), -90) }} and opened_date is not null
            ) as delivered_opened_count,
            count(*) filter (
                where delivered_date > {{ add_days(as_of(), -90) }} and clicked_date is not null
            ) as delivered_clicked_count
        from user_touches
        group by user_id
    ),

    final as (
        select
            user_id,
            last_touch_sent_date,
            touches_sent_count_30d,
            touches_sent_count_90d,
            touches_delivered_count_90d,
            touches_opened_count_90d,
            touches_clicked_count_90d,
            touches_replied_count_90d,
            touches_unsubscribed_count_90d,
            cast(delivered_opened_count as double) / nullif(touches_delivered_count_90d, 0) as open_rate_90d,
            cast(delivered_clicked_count as double) / nullif(touches_delivered_count_90d, 0) as click_rate_90d
        from counted
    )

select *
from final
