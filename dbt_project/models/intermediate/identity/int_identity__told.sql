{{
    config(
        materialized="running",
        unique_key=["stated_by", "key_hash"],
        meta={"scratch": ["again"]},
    )
}}

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
{#- The tables that state two identifiers to be one person's, and what of them is read. -#}
{%- set tables = {
    "events": ["id_type", "id", "event_name", "properties", "occurred_at"],
    "members": ["unionid", "phone", "email", "device_id", "registered_at", "updated_at"],
    "contacts": ["unionid", "added_at"],
    "leads": ["id_type", "id", "created_at"],
    "identity_links": ["linked_at", "source"],
    "orders": ["id_type", "id", "device_id", "ordered_at"],
} -%}
{%- set forward = is_forward() -%}
{%- if forward -%}
    {#- Without events: when a file of theirs is replaced nothing goes forward. -#}
    {%- set again -%}
        {% for table in tables if table != "events" %}
            select '{{ table }}' as table_name, key_hash
            from ({{ replaced_keys(table) }}) as replaced
            {% if not loop.last %}
                union
            {% endif %}
        {% endfor %}
    {%- endset -%}
    {%- set again = counted_rows("again", again) -%}
{%- endif %}
with
    event_names as (select * from {{ ref("event_names") }}),
    reissued as (select * from {{ ref("int_identity__reissued") }}),
    staged_orders as (select * from {{ ref("stg_raw__orders") }}),
    {% if forward %}
        {% for table, columns in tables.items() %}
            {{ table }} as ({{ versions_since(table, columns, again) }}),
        {% endfor %}
    {% else %}
        {% for table, columns in tables.items() if table not in ["events", "orders"] %}
            {%- set key = record_key(table) %}
            {{ table }} as (
                select *, {{ row_hash(key) }} as key_hash
                from
                    ({{ record_versions(table, columns + (key | reject("in", columns) | list)) }}) as versions
            ),
        {% endfor %}
        orders as (
            select
                {{ row_hash(["order_id"]) }} as key_hash,
                id_type,
                id,
                device_id,
                ordered_at,
                _arrived_on as in_force_from,
                {{ open_end() }} as in_force_until
            from staged_orders
            where
                {{ row_hash(["order_id"]) }}
                not in (select key_hash from reissued where table_name = 'orders')
            union all
            select key_hash, id_type, id, device_id, seen_at as ordered_at, in_force_from, in_force_until
            from reissued
            where table_name = 'orders'
        ),
        events as (
            select
                event_key as key_hash,
                id_type,
                id,
                event_name,
                properties,
                occurred_at,
                {{ counts_from("_arrived_on") }} as in_force_from,
                {{ open_end() }} as in_force_until
            from ({{ current_events(tables.events + ["_arrived_on"]) }}) as current_events
            where
                properties is not null
                and event_key not in (select key_hash from reissued where table_name = 'events')
            union all
            select
                key_hash,
                id_type,
                id,
                event_name,
                properties,
                seen_at as occurred_at,
                in_force_from,
                in_force_until
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
                'events' as stated_by,
                key_hash,
                activity as source,
                id_type as id_type_a,
                id as id_a,
                '{{ kind }}' as id_type_b,
                {{ json_text("properties", kind) }} as id_b,
                occurred_at as linked_at,
                in_force_from,
                in_force_until
            from telling
            where trim({{ json_text("properties", kind) }}) <> ''
            union all
        {% endfor %}
        {% for kind in ["unionid", "phone", "email", "device_id"] %}
            select
                'members' as stated_by,
                key_hash,
                cast(null as varchar) as source,
                'member_id' as id_type_a,
                member_id as id_a,
                '{{ kind }}' as id_type_b,
                {{ kind }} as id_b,
                coalesce(registered_at, updated_at, {{ day_start("in_force_from") }}) as linked_at,
                in_force_from,
                in_force_until
            from members
            where trim({{ kind }}) <> ''
            union all
        {% endfor %}
        select
            'contacts' as stated_by,
            key_hash,
            cast(null as varchar) as source,
            'contact_id' as id_type_a,
            contact_id as id_a,
            'unionid' as id_type_b,
            unionid as id_b,
            added_at as linked_at,
            in_force_from,
            in_force_until
        from contacts
        where trim(unionid) <> ''
        union all
        select
            'leads' as stated_by,
            key_hash,
            cast(null as varchar) as source,
            'lead_id' as id_type_a,
            lead_id as id_a,
            id_type as id_type_b,
            id as id_b,
            created_at as linked_at,
            in_force_from,
            in_force_until
        from leads
        where trim(id) <> '' and trim(id_type) <> ''
        union all
        select
            'orders' as stated_by,
            key_hash,
            cast(null as varchar) as source,
            id_type as id_type_a,
            id as id_a,
            'device_id' as id_type_b,
            device_id as id_b,
            ordered_at as linked_at,
            in_force_from,
            in_force_until
        from orders
        where trim(id) <> '' and trim(id_type) <> '' and trim(device_id) <> ''
        union all
        select
            'identity_links' as stated_by,
            key_hash,
            source,
            id_type_a,
            id_a,
            id_type_b,
            id_b,
            linked_at,
            in_force_from,
            in_force_until
        from identity_links
    ),
    {% if forward %}
        -- Records that had no other version than these since: what they said before ended with the first.
        rewritten as (
            {% for table in tables %}
                select '{{ table }}' as stated_by, key_hash, min(in_force_from) as replaced_on
                from {{ table }}
                where not is_again
                group by 2
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
        ),
        ended as (
            select
                held.stated_by,
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
                rewritten on rewritten.key_hash = held.key_hash and rewritten.stated_by = held.stated_by
        ),
    {% endif %}
    final as (
        select
            *,
            {{ row_hash(["stated_by", "id_type_a", "id_a", "id_type_b", "id_b"]) }} as pair_key,
            {{ as_of() }} as changed_on
        from
            (
                select *
                from told
                {% if forward %}
                    union all
                    select *
                    from ended
                {% endif %}
            ) as statements
    )
select *
from final
