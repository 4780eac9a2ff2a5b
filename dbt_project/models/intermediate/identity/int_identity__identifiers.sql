with
    written as (select * from {{ ref("int_identity__written") }}),
    lookup as (select * from {{ ref("int_identity__lookup") }}),
    final as (
        select
            written.id_type,
            written.id,
            lookup.user_id,
            min(written.first_seen_at) as first_seen_at,
            max(written.last_seen_at) as last_seen_at,
            min(written.first_arrived_on) as first_arrived_on
        from written
        inner join lookup on lookup.actor_key = written.actor_key
        group by 1, 2, 3
        having bool_or(written.is_current)
    )
select *
from final
