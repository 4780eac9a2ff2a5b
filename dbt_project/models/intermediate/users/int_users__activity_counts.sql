{{ config(materialized="running", unique_key="owner_key", meta={"tombstones": true}) }}

{%- set forward = is_forward() %}
{%- set windows = {
    "views": ("view", [7, 30, 90]),
    "searches": ("search", [7, 30, 90]),
    "carts": ("cart", [7, 30]),
    "favourites": ("favourite", [30, 90]),
    "shares": ("share", [30, 90]),
    "reads": ("read", [30]),
    "votes": ("vote", [90]),
    "comments": ("comment", [90]),
    "likes": ("like", [90]),
    "lives": ("live_enter", [30, 90]),
    "touches_sent": ("touch_sent", [7, 30, 90]),
    "touches_delivered": ("touch_delivered", [7, 30, 90]),
    "touches_opened": ("touch_opened", [7, 30, 90]),
    "touches_clicked": ("touch_clicked", [7, 30, 90]),
    "touches_replied": ("touch_replied", [7, 30, 90]),
    "touches_unsubscribed": ("touch_unsubscribed", [7, 30, 90]),
} %}

with

    tallies as (select * from {{ ref("int_users__tallies") }}),

    tracked as (select * from {{ ref("int_activity__tracked") }}),

    dealings as (select * from {{ ref("int_activity__dealings") }}),

    owners as (select * from {{ ref("int_activity__owners") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),
    {% if forward %}

        changed_actors as (
            select actor_key
            from tallies
            where changed_on > {{ forward_from() }}
            union
            select actor_key
            from tracked
            where {{ is_removed() }}
            union
            select actor_key
            from dealings
            where {{ is_removed() }}
        ),

        touched as ({{ touched_owners("changed_actors") }}),
    {% endif %}

    activities as (
        select
            owners.owner_key,
            tallies.activity,
            passive_activities.activity is null as is_own,
            tallies.last_at,
            tallies.last_date,
            tallies.count_7d,
            tallies.count_30d,
            tallies.count_90d
        from tallies
        inner join owners on tallies.actor_key = owners.actor_key
        {% if forward %} inner join touched on owners.owner_key = touched.owner_key {% endif %}
        left join passive_activities on tallies.activity = passive_activities.activity
        where owners.owner_key is not null
    ),

    pivoted as (
        select
            owner_key,
            max(last_date) filter (where is_own) as last_active_date,
            max(last_at) filter (where activity = 'cart') as last_cart_at,
            max(last_date) filter (where activity = 'cart') as last_cart_date,
            max(last_at) filter (where activity = 'order_paid') as last_paid_at,
            bool_or(activity like 'touch_%') as has_touches,
            max(last_date) filter (where activity = 'touch_sent') as last_touch_sent_date,
            {%- for name, (activity, days) in windows.items() %}
                {%- for day in days %}
                    cast(
                        coalesce(
                            sum(case when activity = '{{ activity }}' then count_{{ day }}d end), 0
                        ) as bigint
                    ) as {{ name }}_count_{{ day }}d,
                {%- endfor %}
            {%- endfor %}
            cast(coalesce(sum(case when is_own then count_30d end), 0) as bigint) as events_count_30d,
            cast(coalesce(sum(case when is_own then count_90d end), 0) as bigint) as events_count_90d
        from activities
        group by owner_key
    ),

    final as ({{ touched_rows("pivoted", forward) }})

select *
from final
