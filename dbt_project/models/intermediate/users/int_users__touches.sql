{{ config(materialized="running", unique_key="owner_key", meta={"tombstones": true}) }}

{%- set forward = is_forward() %}
{%- set statuses = ["sent", "delivered", "opened", "clicked", "replied", "unsubscribed"] %}

with

    tracked as (select * from {{ ref("int_activity__tracked") }} where touch_id is not null),

    owners as (select * from {{ ref("int_activity__owners") }}),
    {% if forward %}

        changed_actors as (
            select actor_key
            from tracked
            where {{ is_added() }} and activity_date > {{ add_days(as_of(), -90) }}
            union
            select actor_key
            from tracked
            where {{ is_removed() }}
            union
            select actor_key
            from tracked
            where {{ is_expiring(30) }}
            union
            select actor_key
            from tracked
            where {{ is_expiring(90) }}
        ),

        touched as ({{ touched_owners("changed_actors") }}),
    {% endif %}

    actors as (
        select owners.actor_key, owners.owner_key
        from owners
        {% if forward %} inner join touched on owners.owner_key = touched.owner_key {% endif %}
        where owners.owner_key is not null
    ),

    dated as (
        select actors.owner_key, tracked.touch_id, tracked.activity, tracked.activity_date
        from tracked
        inner join actors on tracked.actor_key = actors.actor_key
        where tracked.removed_on is null and tracked.activity_date > {{ add_days(as_of(), -90) }}
    ),

    touches as (
        select
            owner_key,
            touch_id,
            {%- for status in statuses %}
                max(case when activity = 'touch_{{ status }}' then activity_date end) as {{ status }}_date
                {%- if not loop.last %},{% endif %}
            {%- endfor %}
        from dated
        group by owner_key, touch_id
    ),

    computed as (
        select
            owner_key,
            count(*) filter (where sent_date > {{ add_days(as_of(), -30) }}) as touches_sent_count_30d,
            {%- for status in statuses %}
                count({{ status }}_date) as touches_{{ status }}_count_90d,
            {%- endfor %}
            -- Rates follow the touches delivered in the window, so none is above 1.
            count(*) filter (
                where delivered_date is not null and opened_date is not null
            ) as delivered_opened_count,
            count(*) filter (
                where delivered_date is not null and clicked_date is not null
            ) as delivered_clicked_count
        from touches
        group by owner_key
    ),

    final as ({{ touched_rows("computed", forward) }})

select *
from final
