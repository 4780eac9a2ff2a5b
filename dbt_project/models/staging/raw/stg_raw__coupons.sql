{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as ({{ latest_version(source("raw", "coupons"), key=["coupon_id"], late=happened("issued_at")) }}),
    final as (
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
            cast({{ counts_from("_first_arrived_on") }} as date) as _first_arrived_on
        from latest
    )
select *
from final
