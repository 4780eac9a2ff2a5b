{{ config(materialized="components") }}

with
    links as (select * from {{ ref("int_identity__links") }}),
    final as (
        select identifier_key_a as a, identifier_key_b as b from links where counts_until = {{ open_end() }}
    )
select *
from final
