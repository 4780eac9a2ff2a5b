{{ config(materialized="components") }}

with
    joins as (
        select joins.*, families.component as family
        from {{ ref("int_identity__joins") }} as joins
        inner join {{ ref("int_identity__families") }} as families on families.node = joins.anchor_a
    ),
    -- The days on which something may change for a family.
    days as (
        select family, counts_from as day
        from joins
        union
        select family, counts_until as day
        from joins
        where counts_until < {{ open_end() }}
    ),
    final as (
        select
            {{ day_node("days.day", "joins.anchor_a") }} as a,
            {{ day_node("days.day", "joins.anchor_b") }} as b
        from joins
        inner join
            days
            on days.family = joins.family
            and days.day >= joins.counts_from
            and days.day < joins.counts_until
    )
select *
from final
