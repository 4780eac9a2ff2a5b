{{
    config(
        materialized="running",
        incremental_strategy="retire",
        unique_key="activity_id",
        incremental_predicates=["has_earlier_version"],
        meta={"tombstones": true},
    )
}}

-- depends_on: {{ ref('stg_raw__events') }}
-- depends_on: {{ ref('stg_raw__touches') }}
{%- set forward = is_forward() %}
with
    event_names as (select * from {{ ref("event_names") }}),
    events as {{ inline() }} ({{ facts_since(ref("stg_raw__events"), forward) }}),
    touches as {{ inline() }} ({{ facts_since(ref("stg_raw__touches"), forward) }}),
    -- The few distinct names are mapped, not the many events.
    source_names as (select distinct event_name from events),
    named_activities as (
        select
            source_names.event_name,
            coalesce(
                event_names.activity, {{ unreserved_activity("lower(trim(source_names.event_name))") }}
            ) as activity
        from source_names
        left join event_names on lower(event_names.event_name) = lower(trim(source_names.event_name))
    ),
    tracked as (
        select
            {{ row_hash(["events.id_type", "events.id"]) }} as actor_key,
            named_activities.activity,
            events.occurred_at,
            events.event_id as activity_id,
            events.channel,
            events.touchpoint,
            events.session_id,
            events.product_id,
            events.content_id,
            events.campaign_id,
            cast(null as varchar) as touch_id,
            events.has_earlier_version
        from events
        inner join named_activities on named_activities.event_name = events.event_name
        union all
        select
            {{ row_hash(["touches.id_type", "touches.id"]) }} as actor_key,
            'touch_' || lower(trim(touches.status)) as activity,
            touches.occurred_at,
            'touch:' || touches.touch_id || ':' || touches.status as activity_id,
            touches.channel,
            cast(null as varchar) as touchpoint,
            cast(null as varchar) as session_id,
            cast(null as varchar) as product_id,
            touches.content_id,
            touches.campaign_id,
            touches.touch_id,
            touches.has_earlier_version
        from touches
    ),
    final as (
        select
            actor_key,
            activity,
            occurred_at,
            {{ business_date("occurred_at") }} as activity_date,
            activity_id,
            channel,
            touchpoint,
            session_id,
            product_id,
            content_id,
            campaign_id,
            cast(null as decimal(18, 4)) as amount,
            touch_id,
            {{ as_of() }} as added_on,
            cast(null as date) as removed_on
            {%- if forward %}
                , has_earlier_version, not coalesce({{ happened("occurred_at") }}, false) as is_gone
            {%- endif %}
        from tracked
        {% if not forward %} where {{ happened("occurred_at") }} {% endif %}
    )
select *
from final
