{{ config(materialized="components", dated=true) }}

with
    links as (select * from {{ ref("int_identity__links") }}),
    final as (select identifier_key_a as a, identifier_key_b as b, counts_from, counts_until from links)
select *
from final
