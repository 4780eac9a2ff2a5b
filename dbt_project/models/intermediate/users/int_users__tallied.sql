{{ config(materialized="view") }}

with
    tallies as (select * from {{ ref("int_users__tallies") }}),
    kinds as (select * from {{ ref("int_activity__kinds") }}),
    final as (
        select
            tallies.actor_key,
            kinds.activity,
            kinds.channel,
            tallies.first_at,
            tallies.last_at,
            tallies.last_date,
            tallies.total_count,
            tallies.count_7d,
            tallies.count_30d,
            tallies.count_90d,
            tallies.changed_on
        from tallies
        inner join kinds on kinds.kind_key = tallies.kind_key
    )
select *
from final
