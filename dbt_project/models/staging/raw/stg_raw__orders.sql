{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["order_id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "orders"), "orders"),
                key=["order_id"],
                few_repeat=true,
                late=happened("ordered_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "orders") }}),
    typed as (
        select
            cast(order_id as varchar) as order_id,
            cast(ordered_at as timestamp) as ordered_at,
            cast(amount as decimal(18, 4)) as amount,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(paid_at as timestamp) as paid_at,
            cast(status as varchar) as status,
            cast(channel as varchar) as channel,
            cast(store_id as varchar) as store_id,
            cast(device_id as varchar) as device_id,
            cast(country as varchar) as country,
            cast(discount_amount as decimal(18, 4)) as discount_amount,
            cast(shipping_amount as decimal(18, 4)) as shipping_amount,
            cast(coupon_id as varchar) as coupon_id,
            cast(campaign_id as varchar) as campaign_id,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "orders") }})
select *
from final
