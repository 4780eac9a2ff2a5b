{{ config(materialized="running", unique_key=["key_hash"]) }}

{#- Forms and logins say in `properties` by which other identifiers the user is known. -#}
{%- set kinds_in_properties = [
    "unionid",
    "openid",
    "contact_id",
    "member_id",
    "phone",
    "email",
    "device_id",
    "buyer_id",
] -%}
{%- set raw_columns = [
    "id_type",
    "id",
    "event_name",
    "properties",
    "occurred_at",
    "event_id",
    "_file_id",
    "_record",
] -%}
with
    event_names as (select * from {{ ref("event_names") }}),
    reissued as (select * from {{ ref("int_identity__reissued") }}),
    {% if is_forward() %}
        events as (
            select
                {{ row_hash(record_key("events")) }} as key_hash,
                id_type,
                id,
                event_name,
                properties,
                occurred_at as seen_at,
                in_force_from,
                in_force_until
            from
                (
                    {{ record_versions("events", raw_columns, relation=ever_arrived_since("events")) }}
                ) as arrived
        ),
    {% else %}
        events as (
            select
                event_key as key_hash,
                id_type,
                id,
                event_name,
                properties,
                occurred_at as seen_at,
                {{ counts_from("_arrived_on") }} as in_force_from,
                {{ open_end() }} as in_force_until
            from
                (
                    {{
                        current_events(
                            ["id_type", "id", "event_name", "properties", "occurred_at", "_arrived_on"]
                        )
                    }}
                ) as current_events
            where
                properties is not null
                and event_key not in (select key_hash from reissued where table_name = 'events')
            union all
            select key_hash, id_type, id, event_name, properties, seen_at, in_force_from, in_force_until
            from reissued
            where table_name = 'events'
        ),
    {% endif %}
    -- The few distinct names are mapped, not the many events.
    telling_names as (
        select names.event_name, coalesce(event_names.activity, lower(trim(names.event_name))) as activity
        from (select distinct event_name from events where properties is not null) as names
        left join event_names on lower(event_names.event_name) = lower(trim(names.event_name))
        where coalesce(event_names.activity, lower(trim(names.event_name))) in ('form_submit', 'login')
    ),
    telling as (
        select events.*, telling_names.activity
        from events
        inner join telling_names on telling_names.event_name = events.event_name
        where events.properties is not null
    ),
    told as (
        {% for kind in kinds_in_properties %}
            select
                key_hash,
                activity as source,
                id_type as id_type_a,
                id as id_a,
                '{{ kind }}' as id_type_b,
                {{ json_text("properties", kind) }} as id_b,
                seen_at as linked_at,
                in_force_from,
                in_force_until
            from telling
            where trim({{ json_text("properties", kind) }}) <> ''
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    final as (
        select *
        from told
        {% if is_forward() %}
            union all
            -- What a record said before its new version came.
            select
                held.key_hash,
                held.source,
                held.id_type_a,
                held.id_a,
                held.id_type_b,
                held.id_b,
                held.linked_at,
                held.in_force_from,
                least(held.in_force_until, rewritten.replaced_on) as in_force_until
            from {{ this }} as held
            inner join
                (select key_hash, min(in_force_from) as replaced_on from events group by 1) as rewritten
                on rewritten.key_hash = held.key_hash
        {% endif %}
    )
select *
from final
