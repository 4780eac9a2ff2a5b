with
    business_days as ({{ business_days() }}),
    told_events as (select * from {{ ref("int_identity__told_events") }}),
    reissued as (select * from {{ ref("int_identity__reissued") }}),
    members as (
        select *, coalesce(registered_at, updated_at, {{ day_start("in_force_from") }}) as seen_at
        from
            (
                {{
                    record_versions(
                        "members",
                        [
                            "member_id",
                            "unionid",
                            "phone",
                            "email",
                            "device_id",
                            "registered_at",
                            "updated_at",
                        ],
                    )
                }}
            ) as versions
    ),
    contacts as ({{ record_versions("contacts", ["contact_id", "unionid", "added_at"]) }}),
    leads as ({{ record_versions("leads", ["lead_id", "id_type", "id", "created_at"]) }}),
    identity_links as (
        {{
            record_versions(
                "identity_links", ["id_type_a", "id_a", "id_type_b", "id_b", "linked_at", "source"]
            )
        }}
    ),
    orders as (
        select
            id_type,
            id,
            device_id,
            ordered_at as seen_at,
            _arrived_on as in_force_from,
            {{ open_end() }} as in_force_until
        from {{ ref("stg_raw__orders") }}
        where {{ row_hash(["order_id"]) }} not in (select key_hash from reissued where table_name = 'orders')
        union all
        select id_type, id, device_id, seen_at, in_force_from, in_force_until
        from reissued
        where table_name = 'orders'
    ),
    stated as (
        {% for kind in ["unionid", "phone", "email", "device_id"] %}
            select
                'members' as stated_by,
                cast(null as varchar) as source,
                'member_id' as id_type_a,
                member_id as id_a,
                '{{ kind }}' as id_type_b,
                {{ kind }} as id_b,
                seen_at as linked_at,
                in_force_from,
                in_force_until
            from members
            where trim({{ kind }}) <> ''
            union all
        {% endfor %}
        select
            'events' as stated_by,
            source,
            id_type_a,
            id_a,
            id_type_b,
            id_b,
            linked_at,
            in_force_from,
            in_force_until
        from told_events
        union all
        select
            'contacts' as stated_by,
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
            cast(null as varchar) as source,
            id_type as id_type_a,
            id as id_a,
            'device_id' as id_type_b,
            device_id as id_b,
            seen_at as linked_at,
            in_force_from,
            in_force_until
        from orders
        where trim(id) <> '' and trim(id_type) <> '' and trim(device_id) <> ''
        union all
        select
            'identity_links' as stated_by,
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
    dated as (
        select
            stated.*,
            {{ known_on("stated.in_force_from", "stated.linked_at", "business_days.ends_at") }} as stated_from
        from stated
        left join business_days on business_days.day = stated.in_force_from
        where {{ happened("stated.linked_at") }}
    ),
    final as (
        select
            stated_by,
            id_type_a,
            id_a,
            id_type_b,
            id_b,
            in_force_until as stated_until,
            min(stated_from) as stated_from,
            min(source) as source,
            min(linked_at) as first_linked_at,
            max(linked_at) as last_linked_at,
            min({{ sighting_rank("stated_from", "linked_at") }}) as first_sighting
        from dated
        where stated_from < in_force_until
        group by 1, 2, 3, 4, 5, 6
    )
select *
from final
