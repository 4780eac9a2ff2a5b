{{ config(materialized="running", unique_key="owner_key", meta={"tombstones": true}) }}

{%- set forward = is_forward() %}
{%- set in_window -%}
    activity_date > {{ add_days(as_of(), -90) }} and activity_date <= {{ as_of() }}
{%- endset %}

with

    tracked as {{ inline() }} (select * from {{ ref("int_activity__tracked") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    owners as {{ inline() }} (select * from {{ ref("int_activity__owners") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),
    {% if forward %}

        -- Going forward, only users are computed of whom a day was added to the window or has left it.
        changed_actors as (
            {% for part in ["tracked", "dealings"] %}
                select actor_key
                from {{ part }}
                where {{ is_added() }} and activity_date > {{ add_days(as_of(), -90) }}
                union
                select actor_key
                from {{ part }}
                where {{ is_removed() }}
                union
                select actor_key
                from {{ part }}
                where {{ is_expiring(90) }}
                {% if not loop.last %}
                    union
                {% endif %}
            {% endfor %}
            union
            select actor_key
            from tracked
            where {{ is_expiring(30) }} and session_id is not null
        ),

        touched as ({{ touched_owners("changed_actors") }}),
    {% endif %}

    actors as (
        select owners.actor_key, owners.owner_key
        from owners
        {% if forward %} inner join touched on owners.owner_key = touched.owner_key {% endif %}
        where owners.owner_key is not null
    ),

    -- The stream is read once for each purpose, few columns at a time: kept once for all, it would be
    -- copied whole.
    -- The time zone is looked up for each quarter of an hour, not for each activity.
    quarter_hours as (
        select
            {{ quarter_hour("occurred_at") }} as quarter_hour,
            {{ business_hour("min(occurred_at)") }} as activity_hour
        from ({{ standing_facts(["occurred_at"], in_window) }}) as facts
        group by 1
    ),

    recent as (
        select
            actors.owner_key,
            facts.activity_date,
            quarter_hours.activity_hour,
            facts.touchpoint,
            count(*) as activities_count
        from
            (
                {{
                    standing_facts(
                        ["actor_key", "activity", "occurred_at", "activity_date", "touchpoint"], in_window
                    )
                }}
            ) as facts
        inner join actors on facts.actor_key = actors.actor_key
        inner join quarter_hours on {{ quarter_hour("facts.occurred_at") }} = quarter_hours.quarter_hour
        left join passive_activities on facts.activity = passive_activities.activity
        where passive_activities.activity is null
        group by actors.owner_key, facts.activity_date, quarter_hours.activity_hour, facts.touchpoint
    ),

    days as (
        select owner_key, activity_date, sum(activities_count) as activities_count
        from recent
        group by owner_key, activity_date
    ),

    -- Bit 0 is the first of the 90 days that end on as_of: on a later day the bits of the days that have
    -- left the
    -- window are shifted out on reading.
    day_values as (
        select owner_key, {{ day_bits("activity_date", add_days(as_of(), -89)) }} as active_days_bits
        from days
        group by owner_key
    ),

    touchpoints as (
        select
            owner_key,
            touchpoint,
            row_number() over (
                partition by owner_key
                order by
                    sum(activities_count) desc nulls last,
                    max(activity_date) desc nulls last,
                    touchpoint asc nulls last
            ) as touchpoint_rank
        from recent
        where touchpoint is not null
        group by owner_key, touchpoint
    ),

    top_touchpoints as (select owner_key, touchpoint from touchpoints where touchpoint_rank = 1),

    hours as (
        select
            owner_key,
            activity_hour,
            row_number() over (
                partition by owner_key
                order by sum(activities_count) desc nulls last, activity_hour asc nulls last
            ) as hour_rank
        from recent
        group by owner_key, activity_hour
    ),

    usual_hours as (select owner_key, activity_hour from hours where hour_rank = 1),

    day_weekdays as (
        select owner_key, {{ iso_weekday("activity_date") }} as activity_weekday, activities_count from days
    ),

    weekdays as (
        select
            owner_key,
            activity_weekday,
            row_number() over (
                partition by owner_key
                order by sum(activities_count) desc nulls last, activity_weekday asc nulls last
            ) as weekday_rank
        from day_weekdays
        group by owner_key, activity_weekday
    ),

    usual_weekdays as (select owner_key, activity_weekday from weekdays where weekday_rank = 1),

    sessions as (
        select actors.owner_key, facts.session_id
        from
            (
                {{
                    standing_facts(
                        ["actor_key", "session_id"],
                        in_window
                        ~ " and session_id is not null and activity_date > "
                        ~ add_days(as_of(), -30),
                    )
                }}
            ) as facts
        inner join actors on facts.actor_key = actors.actor_key
        group by actors.owner_key, facts.session_id
    ),

    session_values as (select owner_key, count(*) as sessions_count_30d from sessions group by owner_key),

    known as (
        select owner_key
        from day_values
        union
        select owner_key
        from session_values
    ),

    computed as (
        select
            known.owner_key,
            {{ as_of() }} as computed_on,
            day_values.active_days_bits,
            coalesce(session_values.sessions_count_30d, 0) as sessions_count_30d,
            top_touchpoints.touchpoint as top_touchpoint_90d,
            usual_hours.activity_hour as usual_hour,
            usual_weekdays.activity_weekday as usual_weekday
        from known
        left join day_values on known.owner_key = day_values.owner_key
        left join session_values on known.owner_key = session_values.owner_key
        left join top_touchpoints on known.owner_key = top_touchpoints.owner_key
        left join usual_hours on known.owner_key = usual_hours.owner_key
        left join usual_weekdays on known.owner_key = usual_weekdays.owner_key
    ),

    final as ({{ touched_rows("computed", forward) }})

select *
from final
