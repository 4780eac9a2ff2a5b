{{ config(materialized="running", unique_key="owner_key", meta={"tombstones": true}) }}

{%- set forward = is_forward() %}
{%- set statuses = ["delivered", "opened", "clicked"] %}
{%- set activities -%} activity in ('touch_delivered', 'touch_opened', 'touch_clicked') {%- endset %}

with

    tracked as {{ inline() }} (
        select * from {{ ref("int_activity__tracked") }} where touch_id is not null and {{ activities }}
    ),

    owners as {{ inline() }} (select * from {{ ref("int_activity__owners") }}),
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
            count(*) as delivered_count,
            -- Rates follow the messages delivered in the window, so none is above 1.
            count(opened_date) as delivered_opened_count,
            count(clicked_date) as delivered_clicked_count
        from touches
        where delivered_date is not null
        group by owner_key
    ),

    final as ({{ touched_rows("computed", forward) }})

select *
from final
