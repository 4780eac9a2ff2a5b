{{ config(meta={"dagster": {"ref": {"name": "rfm_cell_metrics"}}}) }}
-- All users, their orders and their money are in exactly one cell each.
with

    metrics as (
        select sum(users) as users, sum(orders_count) as orders_count, sum(net_amount) as net_amount
        from {{ ref("rfm_cell_metrics") }}
    ),

    users as (
        select
            count(*) as users,
            coalesce(sum(orders_count), 0) as orders_count,
            coalesce(sum(net_amount), 0) as net_amount
        from {{ ref("user_wide") }}
    ),

    final as (
        select metrics.*
        from metrics
        cross join users
        where
            metrics.users <> users.users
            or metrics.orders_count <> users.orders_count
            or metrics.net_amount <> users.net_amount
    )

select *
from final
