with

    contacts as (select * from {{ ref("stg_raw__contacts") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    dated as (
        select
            lookup.user_id,
            contacts.contact_id,
            contacts.staff_id,
            contacts.added_at,
            {{ business_date("contacts.added_at") }} as added_date,
            {{ happened_at("contacts.deleted_at") }} as deleted_at,
            {{ happened_at("contacts.blocked_at") }} as blocked_at,
            nullif(trim(contacts.add_way), '') as add_way,
            nullif(trim(contacts.state_code), '') as state_code
        from contacts
        inner join lookup on lookup.id_type = 'contact_id' and contacts.contact_id = lookup.id
    ),

    -- Added again after the end: the relation goes on.
    final as (
        select
            user_id,
            contact_id,
            staff_id,
            added_at,
            added_date,
            case when deleted_at >= added_at then deleted_at end as deleted_at,
            blocked_at,
            add_way,
            state_code,
            deleted_at is null or deleted_at < added_at as is_current,
            row_number() over (
                partition by user_id
                order by added_at asc nulls last, contact_id asc nulls last, staff_id asc nulls last
            ) as contact_number
        from dated
        where added_date <= {{ as_of() }}
    )

select *
from final
