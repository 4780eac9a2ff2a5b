with

    orders as (
        select *
        from {{ ref("int_orders__resolved") }}
        where user_id is not null and is_paid and not is_fully_refunded
    ),

    order_lines as (select * from {{ ref("int_order_lines__resolved") }}),

    refunds as (select * from {{ ref("int_refunds__resolved") }} where product_id is not null),

    bought_lines as (
        select
            orders.order_id,
            orders.user_id,
            orders.ordered_date as purchase_date,
            order_lines.product_id,
            sum(order_lines.quantity) as quantity,
            sum(order_lines.amount) as amount
        from order_lines
        inner join orders on order_lines.order_id = orders.order_id
        group by orders.order_id, orders.user_id, orders.ordered_date, order_lines.product_id
    ),

    -- A return that says no quantity takes everything when its money does.
    returned_lines as (
        select
            order_id,
            product_id,
            sum(coalesce(quantity, 0)) as returned_quantity,
            sum(case when quantity is null then amount else 0 end) as returned_amount
        from refunds
        where order_id is not null
        group by order_id, product_id
    ),

    kept_lines as (
        select
            bought_lines.user_id,
            bought_lines.product_id,
            bought_lines.purchase_date,
            bought_lines.quantity,
            bought_lines.amount,
            case
                when
                    returned_lines.returned_amount > 0
                    and returned_lines.returned_amount >= bought_lines.amount
                then 0
                else bought_lines.quantity - coalesce(returned_lines.returned_quantity, 0)
            end as kept_quantity
        from bought_lines
        left join
            returned_lines
            on bought_lines.order_id = returned_lines.order_id
            and bought_lines.product_id = returned_lines.product_id
    ),

    kept_days as (
        select
            user_id,
            product_id,
            purchase_date,
            sum(kept_quantity) as quantity,
            sum(
                cast(
                    round(
                        cast(amount as double) * cast(kept_quantity as double) / cast(quantity as double), 4
                    ) as decimal(18, 4)
                )
            ) as amount
        from kept_lines
        where quantity > 0 and kept_quantity > 0
        group by user_id, product_id, purchase_date
    ),

    -- A return that names no order takes from the latest purchase of the product on or before its day.
    loose_returns as (
        select
            refunds.refund_id,
            kept_days.user_id,
            kept_days.product_id,
            max(kept_days.purchase_date) as purchase_date,
            max(refunds.quantity) as quantity,
            max(refunds.amount) as amount
        from refunds
        inner join
            kept_days
            on refunds.user_id = kept_days.user_id
            and refunds.product_id = kept_days.product_id
            and refunds.refunded_date >= kept_days.purchase_date
        where refunds.order_id is null
        group by refunds.refund_id, kept_days.user_id, kept_days.product_id
    ),

    returned_days as (
        select
            user_id,
            product_id,
            purchase_date,
            sum(coalesce(quantity, 0)) as returned_quantity,
            sum(case when quantity is null then amount else 0 end) as returned_amount
        from loose_returns
        group by user_id, product_id, purchase_date
    ),

    final as (
        select
            kept_days.user_id,
            kept_days.product_id,
            kept_days.purchase_date,
            cast(
                kept_days.quantity - coalesce(returned_days.returned_quantity, 0) as decimal(18, 4)
            ) as quantity,
            cast(
                round(
                    cast(kept_days.amount as double)
                    * cast(kept_days.quantity - coalesce(returned_days.returned_quantity, 0) as double)
                    / cast(kept_days.quantity as double),
                    4
                ) as decimal(18, 4)
            ) as amount
        from kept_days
        left join
            returned_days
            on kept_days.user_id = returned_days.user_id
            and kept_days.product_id = returned_days.product_id
            and kept_days.purchase_date = returned_days.purchase_date
        where
            kept_days.quantity > coalesce(returned_days.returned_quantity, 0)
            and not (
                coalesce(returned_days.returned_amount, 0) > 0
                and returned_days.returned_amount >= kept_days.amount
            )
    )

select *
from final
