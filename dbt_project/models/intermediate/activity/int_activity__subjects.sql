{{ config(materialized="running", unique_key="subject_key") }}

with
    subjects as (
        select product_id, content_id, campaign_id
        from {{ raw_rows(source("raw", "events"), "events") }}
        union
        select cast(null as varchar) as product_id, content_id, campaign_id
        from {{ raw_rows(source("raw", "touches"), "touches") }}
    ),
    final as (
        select
            {{ subject_key("product_id", "content_id", "campaign_id") }} as subject_key,
            product_id,
            content_id,
            campaign_id
        from subjects
    )
select *
from final
