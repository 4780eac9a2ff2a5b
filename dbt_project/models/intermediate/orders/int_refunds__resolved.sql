with
    refunds as (select * from {{ ref("stg_raw__refunds") }} where {{ happened("refunded_at") }}),
    orders as (select * from {{ ref("int_orders__resolved") }}),
    lookup as (select * from {{ ref("int_identity__lookup") }}),
    final as (
        select
            refunds.refund_id,
            coalesce(orders.user_id, lookup.user_id) as user_id,
            refunds.order_id,
            refunds.refunded_at,
            {{ business_date("refunds.refunded_at") }} as refunded_date,
            refunds.amount,
            refunds.product_id,
            refunds.quantity
        from refunds
        left join orders on orders.order_id = refunds.order_id
        left join lookup on lookup.id_type = refunds.id_type and lookup.id = refunds.id
    )
select *
from final
