{{ config(materialized="components") }}
-- An identifier that was linked on its first day, for good, is part of what it was linked to on every day
-- it is
-- known; one such link of each is followed. What is left can only change when a later link comes or one ends.
with
    written as (select * from {{ ref("int_identity__written") }}),
    links as (select * from {{ ref("int_identity__links") }} where counts_until = {{ open_end() }}),
    births as (
        select identifier_key, min(first_arrived_on) as born_on
        from written
        where identifier_key is not null
        group by 1
    ),
    final as (
        select links.identifier_key_b as a, min(links.identifier_key_a) as b
        from links
        inner join
            births on births.identifier_key = links.identifier_key_b and births.born_on = links.counts_from
        group by 1
    )
select *
from final
