{{ config(materialized="running", unique_key="kind_key") }}

with
    event_names as (select * from {{ ref("event_names") }}),
    events as (
        select distinct event_name, channel, touchpoint from {{ raw_rows(source("raw", "events"), "events") }}
    ),
    touches as (select distinct status, channel from {{ raw_rows(source("raw", "touches"), "touches") }}),
    dealings as (
        select distinct kind_key, activity, channel, touchpoint
        from {{ ref("int_activity__dealings") }}
        {% if is_forward() %} where added_on > {{ forward_from() }} {% endif %}
    ),
    final as (
        select
            {{ kind_key("events", "events.event_name", "events.channel", "events.touchpoint") }} as kind_key,
            coalesce(
                event_names.activity, {{ unreserved_activity("lower(trim(events.event_name))") }}
            ) as activity,
            events.channel,
            events.touchpoint
        from events
        left join event_names on lower(event_names.event_name) = lower(trim(events.event_name))
        union all
        select
            {{ kind_key("touches", "status", "channel", "cast(null as varchar)") }} as kind_key,
            'touch_' || lower(trim(status)) as activity,
            channel,
            cast(null as varchar) as touchpoint
        from touches
        union all
        select kind_key, activity, channel, touchpoint
        from dealings
    )
select *
from final
