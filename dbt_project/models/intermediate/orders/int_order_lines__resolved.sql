with
    order_lines as (select * from {{ ref("stg_raw__order_lines") }}),
    orders as (select * from {{ ref("int_orders__resolved") }} where is_paid),
    products as (select * from {{ ref("stg_raw__products") }}),
    final as (
        select
            order_lines.order_id,
            order_lines.line_number,
            orders.user_id,
            orders.ordered_at,
            orders.ordered_date,
            order_lines.product_id,
            order_lines.quantity,
            order_lines.amount,
            coalesce(order_lines.discount_amount, 0) as discount_amount,
            products.category_l1,
            products.category_l2,
            products.brand,
            products.style
        from order_lines
        inner join orders on orders.order_id = order_lines.order_id
        left join products on products.product_id = order_lines.product_id
    )
select *
from final
