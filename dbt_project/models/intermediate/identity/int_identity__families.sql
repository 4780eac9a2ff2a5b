{{ config(materialized="components") }}

with
    joins as (select * from {{ ref("int_identity__joins") }}),
    final as (select anchor_a as a, anchor_b as b from joins)
select *
from final
