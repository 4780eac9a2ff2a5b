{{ config(materialized="view") }}

with

    tallies as (select * from {{ ref("int_users__tallied") }}),

    owners as (select * from {{ ref("int_activity__owners") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),

    counted as (
        select
            owners.user_id,
            tallies.activity,
            min(tallies.first_at) as first_at,
            max(tallies.last_at) as last_at,
            max(tallies.last_date) as last_date,
            cast(sum(tallies.total_count) as bigint) as total_count,
            cast(sum(tallies.count_7d) as bigint) as count_7d,
            cast(sum(tallies.count_30d) as bigint) as count_30d,
            cast(sum(tallies.count_90d) as bigint) as count_90d
        from tallies
        inner join owners on tallies.actor_key = owners.actor_key
        where owners.user_id is not null
        group by owners.user_id, tallies.activity
    ),

    final as (
        select counted.*, passive_activities.activity is null as is_own
        from counted
        left join passive_activities on counted.activity = passive_activities.activity
    )

select *
from final
