{{ config(schema="private") }}

with
    identifiers as (select * from {{ ref("int_identity__identifiers") }}),
    final as (
        select
            cast(user_id as varchar) as user_id,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(last_seen_at as timestamp) as last_seen_at
        from identifiers
    )
select *
from final
