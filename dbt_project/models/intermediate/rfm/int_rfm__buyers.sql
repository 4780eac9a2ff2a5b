{%- set frequency = rfm_setting("frequency") -%}
{%- set monetary = rfm_setting("monetary") -%}
with

    orders as (select * from {{ ref("int_orders__resolved") }}),

    refunds as (select * from {{ ref("int_refunds__resolved") }}),

    -- A fully refunded order counts neither its amount nor its refunds.
    order_days as (
        select
            user_id,
            ordered_date,
            count(*) as orders_count,
            sum(amount) as gross_amount,
            sum(refunded_amount) as refund_amount
        from orders
        where
            user_id is not null and is_paid and not is_fully_refunded and {{ rfm_in_window("ordered_date") }}
        group by user_id, ordered_date
    ),

    order_totals as (
        select
            user_id,
            min(ordered_date) as first_order_date,
            max(ordered_date) as last_order_date,
            count(*) as order_days_count,
            sum(orders_count) as orders_count,
            sum(gross_amount) as gross_amount,
            sum(refund_amount) as refund_amount
        from order_days
        group by user_id
    ),

    -- A refund that names an order lowers that order (above); any other lowers its user's money on its own
    -- date.
    refund_totals as (
        select user_id, sum(amount) as refund_amount
        from refunds
        where user_id is not null and order_id is null and {{ rfm_in_window("refunded_date") }}
        group by user_id
    ),

    user_totals as (
        select
            order_totals.user_id,
            order_totals.first_order_date,
            order_totals.last_order_date,
            order_totals.order_days_count,
            order_totals.orders_count,
            order_totals.gross_amount,
            order_totals.refund_amount + coalesce(refund_totals.refund_amount, 0) as refund_amount
        from order_totals
        left join refund_totals on order_totals.user_id = refund_totals.user_id
    ),

    final as (
        select
            user_id,
            first_order_date,
            last_order_date,
            cast({{ days_between("last_order_date", as_of()) }} as integer) as recency_days,
            cast({{ "order_days_count" if frequency == "days" else "orders_count" }} as integer) as frequency,
            cast(
                {{ "gross_amount - refund_amount" if monetary == "net" else "gross_amount" }} as decimal(
                    18, 4
                )
            ) as monetary
        from user_totals
        {%- if monetary == "net" %}
            where not (refund_amount > 0 and gross_amount - refund_amount <= 0)
        {%- endif %}
    )

select *
from final
