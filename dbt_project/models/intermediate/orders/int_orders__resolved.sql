with
    orders as (select * from {{ ref("stg_raw__orders") }} where {{ happened("ordered_at") }}),
    refunds as (
        select *
        from {{ ref("stg_raw__refunds") }}
        where order_id is not null and {{ happened("refunded_at") }}
    ),
    lookup as (select * from {{ ref("int_identity__lookup") }}),
    refunded as (select order_id, sum(amount) as refunded_amount from refunds group by 1),
    -- A payment after as_of has not happened yet.
    dated as (
        select
            *,
            lower(trim(coalesce(nullif(trim(status), ''), 'paid'))) as stated_status,
            coalesce({{ happened("paid_at") }}, true) as is_payment_known
        from orders
    ),
    final as (
        select
            dated.order_id,
            lookup.user_id,
            dated.ordered_at,
            {{ business_date("dated.ordered_at") }} as ordered_date,
            case when dated.is_payment_known then dated.paid_at end as paid_at,
            case
                when dated.is_payment_known or dated.stated_status in ('cancelled', 'closed')
                then dated.stated_status
                else 'unpaid'
            end as status,
            dated.is_payment_known and dated.stated_status in ('paid', 'refunded') as is_paid,
            dated.amount,
            coalesce(dated.discount_amount, 0) as discount_amount,
            coalesce(dated.shipping_amount, 0) as shipping_amount,
            cast(coalesce(refunded.refunded_amount, 0) as decimal(18, 4)) as refunded_amount,
            coalesce(
                refunded.refunded_amount > 0 and refunded.refunded_amount >= dated.amount, false
            ) as is_fully_refunded,
            cast(dated.amount - coalesce(refunded.refunded_amount, 0) as decimal(18, 4)) as net_amount,
            dated.channel,
            dated.store_id,
            dated.country,
            dated.campaign_id,
            dated.coupon_id,
            dated._arrived_on
        from dated
        left join lookup on lookup.id_type = dated.id_type and lookup.id = dated.id
        left join refunded on refunded.order_id = dated.order_id
    )
select *
from final
