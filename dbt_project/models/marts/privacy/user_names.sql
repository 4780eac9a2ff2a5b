{{ config(schema="private") }}

with
    contacts as (select * from {{ ref("stg_raw__contacts") }}),
    lookup as (select * from {{ ref("int_identity__lookup") }}),
    named as (
        select
            lookup.user_id,
            trim(contacts.name) as name,
            row_number() over (
                partition by lookup.user_id
                order by
                    contacts.added_at desc nulls last,
                    contacts.contact_id desc nulls last,
                    contacts.staff_id desc nulls last
            ) as number_of_user
        from contacts
        inner join lookup on lookup.id_type = 'contact_id' and lookup.id = contacts.contact_id
        where nullif(trim(contacts.name), '') is not null and {{ happened("contacts.added_at") }}
    ),
    final as (
        select cast(user_id as varchar) as user_id, cast(name as varchar) as name
        from named
        where number_of_user = 1
    )
select *
from final
