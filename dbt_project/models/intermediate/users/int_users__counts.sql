{%- set windows = {
    "searches": ("search", [7, 90]),
    "favourites": ("favourite", [90]),
    "shares": ("share", [90]),
    "votes": ("vote", [90]),
    "comments": ("comment", [90]),
    "likes": ("like", [90]),
    "lives": ("live_enter", [90]),
    "touches_sent": ("touch_sent", [7, 30, 90]),
    "touches_delivered": ("touch_delivered", [7, 30, 90]),
    "touches_opened": ("touch_opened", [7, 30, 90]),
    "touches_clicked": ("touch_clicked", [7, 30, 90]),
    "touches_replied": ("touch_replied", [7, 30, 90]),
    "touches_unsubscribed": ("touch_unsubscribed", [7, 30, 90]),
} -%}

with

    activities as (select * from {{ ref("int_users__activities") }}),

    -- Ten times fewer rows than activities; each column is one row of a user turned around.
    final as (
        select
            user_id,
            {%- for name, (activity, days) in windows.items() %}
                {%- for day in days %}
                    coalesce(
                        sum(case when activity = '{{ activity }}' then count_{{ day }}d end), 0
                    ) as {{ name }}_count_{{ day }}d,
                {%- endfor %}
            {%- endfor %}
            coalesce(sum(case when is_own then count_90d end), 0) as events_count_90d
        from activities
        group by user_id
    )

select *
from final
