{{ config(meta={"dagster": {"ref": {"name": "int_activity"}}}) }}
-- The activity stream pays what the orders say, and never runs ahead of as_of.
with
    activities as (select * from {{ ref("int_activity") }}),
    orders as (select * from {{ ref("int_orders__resolved") }} where is_paid and user_id is not null),
    order_lines as (select * from {{ ref("int_order_lines__resolved") }} where user_id is not null),
    expected as (
        select
            (select count(*) from orders) as orders_paid,
            (select coalesce(sum(amount), 0) from orders) as amount_paid,
            (select count(*) from order_lines) as items_paid
    ),
    found as (
        select
            count(*) filter (where activity = 'order_paid') as orders_paid,
            coalesce(sum(amount) filter (where activity = 'order_paid'), 0) as amount_paid,
            count(*) filter (where activity = 'item_paid') as items_paid,
            max(activity_date) as last_date
        from activities
    ),
    failures as (
        select 'activities differ from orders' as problem
        from expected
        inner join
            found
            on expected.orders_paid <> found.orders_paid
            or expected.amount_paid <> found.amount_paid
            or expected.items_paid <> found.items_paid
        union all
        select 'activity after as_of' as problem
        from found
        where last_date > {{ as_of() }}
    )
select *
from failures
