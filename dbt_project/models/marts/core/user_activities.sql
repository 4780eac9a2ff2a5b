with
    activities as (
        select *
        from {{ ref("int_activity") }}
        where
            activity_date > {{ add_days(as_of(), "-" ~ var("history_activity_days")) }}
            and activity_date <= {{ as_of() }}
    ),
    products as (select * from {{ ref("stg_raw__products") }}),
    contents as (select * from {{ ref("stg_raw__contents") }}),
    campaigns as (select * from {{ ref("stg_raw__campaigns") }}),
    final as (
        select
            cast(activities.user_id as varchar) as user_id,
            cast(activities.activity as varchar) as activity,
            cast(activities.occurred_at as timestamp) as occurred_at,
            cast(activities.activity_date as date) as activity_date,
            cast(activities.channel as varchar) as channel,
            cast(activities.touchpoint as varchar) as touchpoint,
            cast(activities.product_id as varchar) as product_id,
            cast(activities.content_id as varchar) as content_id,
            cast(activities.campaign_id as varchar) as campaign_id,
            cast(activities.amount as decimal(18, 4)) as amount,
            cast(products.category_l1 as varchar) as category_l1,
            cast(products.category_l2 as varchar) as category_l2,
            cast(products.category_l3 as varchar) as category_l3,
            cast(products.brand as varchar) as brand,
            cast(products.style as varchar) as style,
            cast(contents.topic as varchar) as topic,
            cast(contents.style as varchar) as content_style,
            cast(contents.format as varchar) as content_format,
            cast(campaigns.kind as varchar) as campaign_kind
        from activities
        left join products on products.product_id = activities.product_id
        left join contents on contents.content_id = activities.content_id
        left join campaigns on campaigns.campaign_id = activities.campaign_id
    )
select *
from final
