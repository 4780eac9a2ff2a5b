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
{%- set numbers = {} %}
{%- for name, (activity, days) in windows.items() %}
    {%- do numbers.update({activity: loop.index}) %}
{%- endfor %}

with

    tallies as {{ inline() }} (select * from {{ ref("int_users__tallies") }}),

    tracked as {{ inline() }} (select * from {{ ref("int_activity__tracked") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    owners as {{ inline() }} (select * from {{ ref("int_activity__owners") }}),

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

    -- Numbers for the activities that have columns: comparing texts would be most of the work.
    activity_numbers as (
        select activity, activity_number
        from
            (
                values
                    {% for name, (activity, days) in windows.items() %}
                        ('{{ activity }}', {{ loop.index }}) {%- if not loop.last %},{% endif %}
                    {% endfor %}
            ) as numbered(activity, activity_number)
    ),

    activities as (
        select
            owners.owner_key,
            activity_numbers.activity_number,
            passive_activities.activity is null as is_own,
            bool_or(tallies.activity like 'touch_%') as is_touch,
            max(tallies.last_at) as last_at,
            max(tallies.last_at) filter (where tallies.activity = 'order_paid') as last_paid_at,
            max(tallies.last_date) as last_date,
            {%- for day in [7, 30, 90] %}
                cast(sum(cast(tallies.count_{{ day }}d as integer)) as integer) as count_{{ day }}d
                {%- if not loop.last %},{% endif %}
            {%- endfor %}
        from tallies
        inner join owners on tallies.actor_key = owners.actor_key
        {% if forward %} inner join touched on owners.owner_key = touched.owner_key {% endif %}
        left join passive_activities on tallies.activity = passive_activities.activity
        left join activity_numbers on tallies.activity = activity_numbers.activity
        where owners.owner_key is not null
        group by owners.owner_key, activity_numbers.activity_number, passive_activities.activity is null
    ),

    -- One row per user and number before: the greatest of small integers is that one, and takes far less
    -- room than
    -- a sum for each of so many columns.
    pivoted as (
        select
            owner_key,
            max(last_date) filter (where is_own) as last_active_date,
            max(last_at) filter (where activity_number = {{ numbers["cart"] }}) as last_cart_at,
            max(last_date) filter (where activity_number = {{ numbers["cart"] }}) as last_cart_date,
            max(last_paid_at) as last_paid_at,
            bool_or(is_touch) as has_touches,
            max(last_date) filter (
                where activity_number = {{ numbers["touch_sent"] }}
            ) as last_touch_sent_date,
            {%- for name, (activity, days) in windows.items() %}
                {%- for day in days %}
                    cast(
                        coalesce(
                            max(
                                case when activity_number = {{ numbers[activity] }} then count_{{ day }}d end
                            ),
                            0
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
