{{ config(meta={"dagster": {"ref": {"name": "user_wide"}}}) }}
-- Orders and money in the wide table are those of the facts, no more and no less.
with

    wide as (
        select
            coalesce(sum(orders_count), 0) as orders_count,
            coalesce(sum(gross_amount), 0) as gross_amount,
            coalesce(sum(net_amount), 0) as net_amount,
            coalesce(sum(gross_amount - refund_amount), 0) as difference_amount
        from {{ ref("user_wide") }}
    ),

    orders as (
        select
            count(*) as orders_count,
            coalesce(sum(amount), 0) as gross_amount,
            coalesce(sum(net_amount), 0) as net_amount
        from {{ ref("int_orders__resolved") }}
        where user_id is not null and is_paid and not is_fully_refunded
    ),

    refunds as (
        select coalesce(sum(amount), 0) as refund_amount
        from {{ ref("int_refunds__resolved") }}
        where user_id is not null and order_id is null
    )

select
    wide.orders_count,
    orders.orders_count as fact_orders_count,
    wide.net_amount,
    orders.net_amount - refunds.refund_amount as fact_net_amount
from wide
cross join orders
cross join refunds
where
    wide.orders_count <> orders.orders_count
    or wide.gross_amount <> orders.gross_amount
    or wide.net_amount <> orders.net_amount - refunds.refund_amount
    or wide.net_amount <> wide.difference_amount
