{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["coupon_id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "coupons"), "coupons"),
                key=["coupon_id"],
                late=happened("issued_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "coupons") }}),
    typed as (
        select
            cast(coupon_id as varchar) as coupon_id,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(issued_at as timestamp) as issued_at,
            cast(expires_at as timestamp) as expires_at,
            cast(used_at as timestamp) as used_at,
            cast(order_id as varchar) as order_id,
            cast(face_amount as decimal(18, 4)) as face_amount,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "coupons") }})
select *
from final
