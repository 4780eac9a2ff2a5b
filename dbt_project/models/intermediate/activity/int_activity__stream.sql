{{
    config(
        materialized="running",
        incremental_strategy="retire",
        unique_key="activity_key",
        incremental_predicates=["has_earlier_version"],
        meta={"tombstones": true, "scratch": ["again", "unchanged"]},
    )
}}

{%- set forward = is_forward() %}
{%- set columns = [
    "id_type",
    "id",
    "event_name",
    "occurred_at",
    "channel",
    "touchpoint",
    "session_id",
    "product_id",
    "content_id",
    "campaign_id",
] %}
{%- set happening -%}
    select event_key
    from {{ ref("int_activity__event_keys") }}
    where
        _arrived_on <= {{ forward_from() }}
        and occurred_at >= {{ day_start(forward_from() ~ " + interval 1 day") }}
        and {{ happened("occurred_at") }}
{%- endset %}
{%- set some_happen = forward and has_rows(happening) %}
{%- set facts %}
with
    {% if forward %}
        -- What has arrived and counts; of what lies after as_of only that which replaces a version held.
        arrived_keys as (
            select event_key, row_key, _first_arrived_on <= {{ forward_from() }} as has_earlier_version
            from {{ ref("int_activity__event_keys") }}
            where
                _arrived_on > {{ forward_from() }}
                and ({{ happened("occurred_at") }} or _first_arrived_on <= {{ forward_from() }})
        ),
        events as (
            select {{ columns | join(", ") }}, arrived.event_key, arrived_keys.has_earlier_version
            from ({{ keyed_events(arrived_since("events"), columns) }}) as arrived
            inner join
                arrived_keys
                on arrived_keys.event_key = arrived.event_key
                and arrived_keys.row_key = arrived.row_key
            {% if some_happen %}
                union all
                -- Known before, and happened since.
                select {{ columns | join(", ") }}, event_key, false as has_earlier_version
                from ({{ current_events(columns) }}) as events
                where event_key in ({{ happening }})
            {% endif %}
        ),
    {% else %}
        events as {{ inline() }} (
            select *, false as has_earlier_version from ({{ current_events(columns) }}) as events
        ),
    {% endif %}
    touches as {{ inline() }} ({{ facts_since(ref("stg_raw__touches"), forward) }}),
    tracked as (
        select
            {{ row_hash(["id_type", "id"]) }} as actor_key,
            {{ kind_key("events", "event_name", "channel", "touchpoint") }} as kind_key,
            {{ subject_key("product_id", "content_id", "campaign_id") }} as subject_key,
            occurred_at,
            event_key as activity_key,
            case when session_id is not null then {{ row_hash(["session_id"]) }} end as session_key,
            cast(null as varchar) as touch_id,
            has_earlier_version
        from events
        union all
        select
            {{ row_hash(["id_type", "id"]) }} as actor_key,
            {{ kind_key("touches", "status", "channel", "cast(null as varchar)") }} as kind_key,
            {{ subject_key("cast(null as varchar)", "content_id", "campaign_id") }} as subject_key,
            occurred_at,
            {{ row_hash(["touch_id", "status"]) }} as activity_key,
            null as session_key,
            touch_id,
            has_earlier_version
        from touches
    ),
    dated as (
        select
            actor_key,
            kind_key,
            subject_key,
            occurred_at,
            {{ business_date("occurred_at") }} as activity_date,
            activity_key,
            session_key,
            touch_id,
            has_earlier_version
        from tracked
        {% if not forward %} where {{ happened("occurred_at") }} {% endif %}
    )
select *
from dated
{% endset %}
{%- if forward %}
    {%- set again = counted_rows(
        "again", "select * from (" ~ facts ~ ") as facts where has_earlier_version"
    ) %}
    {#- Told again as it is held, which most are: nothing happened. The day comes first, so that only the rows of these days are read. -#}
    {%- set unchanged %}
        select again.activity_key
        from ({{ again }}) as again
        inner join {{ this }} as held
            on held.activity_date = again.activity_date
            and held.activity_key = again.activity_key
        where
            held.removed_on is null
            {%- for column in ["actor_key", "kind_key", "subject_key", "occurred_at", "session_key", "touch_id"] %}
                and held.{{ column }} is not distinct from again.{{ column }}
            {%- endfor %}
    {% endset %}
    {%- set unchanged = counted_rows("unchanged", unchanged) %}
{%- endif %}
with
    facts as {{ inline() }} ({{ facts }}),
    {% if forward %} unchanged as ({{ unchanged }}), {% endif %}
    final as (
        select
            actor_key,
            kind_key,
            subject_key,
            occurred_at,
            activity_date,
            activity_key,
            session_key,
            touch_id,
            {{ as_of() }} as added_on,
            cast(null as date) as removed_on
            {%- if forward %}
                , has_earlier_version, not coalesce({{ happened("occurred_at") }}, false) as is_gone
            {%- endif %}
        from facts
        {% if forward %} where activity_key not in (select activity_key from unchanged) {% endif %}
    )
select *
from final
