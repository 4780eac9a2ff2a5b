{%- set most = var("timeline_activities") -%}
with
    -- Messages are counted apart, so that a day of browsing does not push them out.
    recent as (
        select *, activity like 'touch!_%' escape '!' as is_touch
        from {{ ref("int_activity") }}
        where
            activity_date > {{ add_days(as_of(), "-" ~ var("timeline_days")) }}
            and activity_date <= {{ as_of() }}
            and {{ most }} > 0
    ),
    numbered as (
        select
            *,
            row_number() over (
                partition by user_id, is_touch
                order by occurred_at desc nulls last, activity_id desc nulls last
            ) as number_of_kind
        from recent
    ),
    products as (select * from {{ ref("stg_raw__products") }}),
    contents as (select * from {{ ref("stg_raw__contents") }}),
    campaigns as (select * from {{ ref("stg_raw__campaigns") }}),
    named as (
        select
            numbered.*,
            row_number() over (
                partition by numbered.user_id
                order by numbered.occurred_at desc nulls last, numbered.activity_id desc nulls last
            ) as position,
            products.name as product_name,
            contents.title as content_title,
            campaigns.name as campaign_name
        from numbered
        left join products on products.product_id = numbered.product_id
        left join contents on contents.content_id = numbered.content_id
        left join campaigns on campaigns.campaign_id = numbered.campaign_id
        where numbered.number_of_kind <= {{ most }}
    ),
    final as (
        select
            cast(user_id as varchar) as user_id,
            cast(position as integer) as position,
            cast(activity as varchar) as activity,
            cast(occurred_at as timestamp) as occurred_at,
            cast(touch_id as varchar) as touch_id,
            cast(channel as varchar) as channel,
            cast(touchpoint as varchar) as touchpoint,
            cast(product_id as varchar) as product_id,
            cast(product_name as varchar) as product_name,
            cast(content_id as varchar) as content_id,
            cast(content_title as varchar) as content_title,
            cast(campaign_id as varchar) as campaign_id,
            cast(campaign_name as varchar) as campaign_name,
            cast(amount as decimal(18, 4)) as amount
        from named
    )
select *
from final
