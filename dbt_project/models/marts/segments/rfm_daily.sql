{{
    config(
        materialized="by_date",
        meta={"by_date": "as_of_date"},
    )
}}

with

    scores as (select * from {{ ref("int_rfm__scores") }}),

    final as (
        select
            cast(user_id as varchar) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(cell as varchar) as cell,
            cast(monetary as decimal(18, 4)) as monetary
        from scores
    )

select *
from final
