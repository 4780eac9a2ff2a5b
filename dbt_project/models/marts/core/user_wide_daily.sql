{{
    config(
        materialized="by_date",
        post_hook="delete from {{ this }} where {{ wide_day_expired('as_of_date', this) }}",
        meta={"by_date": "as_of_date", "kept_days": "wide"},
    )
}}

-- The hook drops days that are kept no longer. Sorted by user, so that columns of few values lie together.
with final as (select * from {{ ref("user_wide") }})

select *
from final
