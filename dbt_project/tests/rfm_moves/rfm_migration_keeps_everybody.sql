{{ config(meta={"dagster": {"ref": {"name": "rfm_migration"}}}) }}
-- Everybody who was a buyer on a day is in some row of it, with all the money, on either side of a pair.
with

    migration as (select * from {{ ref("rfm_migration") }}),

    held as (
        select as_of_date, count(*) as users, sum(monetary) as monetary
        from {{ ref("rfm_daily") }}
        group by as_of_date
    ),

    sides as (
        select from_date as day, to_date as other_day, users, from_monetary as monetary
        from migration
        where from_cell <> 'no_order'
        union all
        select to_date as day, from_date as other_day, users, to_monetary as monetary
        from migration
        where to_cell <> 'no_order'
    ),

    counted as (
        select day, other_day, sum(users) as users, sum(monetary) as monetary
        from sides
        group by day, other_day
    ),

    final as (
        select counted.*
        from counted
        left join held on counted.day = held.as_of_date
        where held.users is null or counted.users <> held.users or counted.monetary <> held.monetary
    )

select *
from final
