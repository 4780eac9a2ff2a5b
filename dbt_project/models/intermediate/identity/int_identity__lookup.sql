with
    written as (select * from {{ ref("int_identity__written") }}),
    components as (select * from {{ ref("int_identity__components") }}),
    users as (select * from {{ ref("int_identity__users") }}),
    final as (
        select
            written.written_id_type as id_type,
            written.written_id as id,
            users.user_id,
            users.user_key,
            written.identifier_key
        from written
        left join components on components.node = written.identifier_key
        inner join users on users.root_identifier_key = coalesce(components.component, written.identifier_key)
    )
select *
from final
