{{ config(meta={"dagster": {"ref": {"name": "int_orders__resolved"}}}) }}
-- No order, refund or line is lost, doubled or changed in amount on the way from staging.
with
    orders as (select * from {{ ref("stg_raw__orders") }} where {{ happened("ordered_at") }}),
    refunds as (select * from {{ ref("stg_raw__refunds") }} where {{ happened("refunded_at") }}),
    order_lines as (select * from {{ ref("stg_raw__order_lines") }}),
    paid_orders as (select * from {{ ref("int_orders__resolved") }} where is_paid),
    given as (
        select 'orders' as facts, count(*) as number_of_rows, sum(amount) as amount
        from orders
        union all
        select 'refunds' as facts, count(*) as number_of_rows, sum(amount) as amount
        from refunds
        union all
        select 'order_lines' as facts, count(*) as number_of_rows, sum(order_lines.amount) as amount
        from order_lines
        inner join paid_orders on paid_orders.order_id = order_lines.order_id
        union all
        select 'refunds of orders' as facts, 0 as number_of_rows, sum(refunds.amount) as amount
        from refunds
        inner join orders on orders.order_id = refunds.order_id
    ),
    resolved as (
        select 'orders' as facts, count(*) as number_of_rows, sum(amount) as amount
        from {{ ref("int_orders__resolved") }}
        union all
        select 'refunds' as facts, count(*) as number_of_rows, sum(amount) as amount
        from {{ ref("int_refunds__resolved") }}
        union all
        select 'order_lines' as facts, count(*) as number_of_rows, sum(amount) as amount
        from {{ ref("int_order_lines__resolved") }}
        union all
        select 'refunds of orders' as facts, 0 as number_of_rows, sum(amount - net_amount) as amount
        from {{ ref("int_orders__resolved") }}
    ),
    failures as (
        select given.facts
        from given
        inner join resolved on resolved.facts = given.facts
        where
            given.number_of_rows <> resolved.number_of_rows
            or coalesce(given.amount, 0) <> coalesce(resolved.amount, 0)
    )
select *
from failures
