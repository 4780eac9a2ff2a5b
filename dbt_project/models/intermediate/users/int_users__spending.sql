with

    orders as (select * from {{ ref("int_orders__resolved") }}),

    refunds as (select * from {{ ref("int_refunds__resolved") }}),

    order_lines as (select * from {{ ref("int_order_lines__resolved") }}),

    coupons as (select * from {{ ref("stg_raw__coupons") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    counted_orders as (
        select *
        from orders
        where user_id is not null and is_paid and not is_fully_refunded and ordered_date <= {{ as_of() }}
    ),

    order_days as (
        select
            user_id,
            ordered_date,
            count(*) as orders_count,
            sum(amount) as gross_amount,
            sum(refunded_amount) as refund_amount,
            sum(coalesce(discount_amount, 0)) as discount_amount
        from counted_orders
        group by user_id, ordered_date
    ),

    order_values as (
        select
            user_id,
            min(ordered_date) as first_order_date,
            max(ordered_date) as last_order_date,
            count(*) as order_days_count,
            sum(orders_count) as orders_count,
            sum(
                case when ordered_date > {{ add_days(as_of(), -30) }} then orders_count else 0 end
            ) as orders_count_30d,
            sum(
                case when ordered_date > {{ add_days(as_of(), -90) }} then orders_count else 0 end
            ) as orders_count_90d,
            sum(
                case when ordered_date > {{ add_days(as_of(), -365) }} then orders_count else 0 end
            ) as orders_count_365d,
            sum(gross_amount) as gross_amount,
            sum(refund_amount) as refund_amount,
            sum(
                case
                    when ordered_date > {{ add_days(as_of(), -365) }} then gross_amount - refund_amount else 0
                end
            ) as net_amount_365d,
            sum(discount_amount) as discount_amount
        from order_days
        group by user_id
    ),

    -- Refunds that name an order are in the order; these lower the user's money on their own date.
    refund_values as (
        select
            user_id,
            sum(amount) as refund_amount,
            sum(
                case when refunded_date > {{ add_days(as_of(), -365) }} then amount else 0 end
            ) as refund_amount_365d
        from refunds
        where user_id is not null and order_id is null and refunded_date <= {{ as_of() }}
        group by user_id
    ),

    ranked_channels as (
        select
            user_id,
            channel,
            row_number() over (
                partition by user_id
                order by count(*) desc nulls last, max(ordered_at) desc nulls last, channel asc nulls last
            ) as channel_rank
        from counted_orders
        where channel is not null
        group by user_id, channel
    ),

    top_channels as (select user_id, channel from ranked_channels where channel_rank = 1),

    counted_lines as (
        select
            counted_orders.user_id,
            order_lines.category_l1,
            order_lines.brand,
            order_lines.style,
            sum(order_lines.quantity) as quantity,
            sum(order_lines.amount) as amount
        from order_lines
        inner join counted_orders on order_lines.order_id = counted_orders.order_id
        group by counted_orders.user_id, order_lines.category_l1, order_lines.brand, order_lines.style
    ),

    line_values as (
        select user_id, sum(quantity) as items_count, count(distinct category_l1) as categories_count
        from counted_lines
        group by user_id
    ),

    {%- for column in ["category_l1", "brand", "style"] %}

        ranked_{{ column }} as (
            select
                user_id,
                {{ column }},
                row_number() over (
                    partition by user_id
                    order by
                        sum(amount) desc nulls last,
                        sum(quantity) desc nulls last,
                        {{ column }} asc nulls last
                ) as value_rank
            from counted_lines
            where {{ column }} is not null
            group by user_id, {{ column }}
        ),

        top_{{ column }} as (select user_id, {{ column }} from ranked_{{ column }} where value_rank = 1),
    {%- endfor %}

    coupon_values as (
        select
            lookup.user_id,
            count(*) filter (where {{ happened("coupons.used_at") }}) as coupons_used_count,
            count(*) filter (
                where
                    (coupons.used_at is null or not {{ happened("coupons.used_at") }})
                    and (
                        coupons.expires_at is null
                        or {{ business_date("coupons.expires_at") }} >= {{ as_of() }}
                    )
            ) as coupons_available_count
        from coupons
        inner join lookup on coupons.id_type = lookup.id_type and coupons.id = lookup.id
        where {{ happened("coupons.issued_at") }}
        group by lookup.user_id
    ),

    spenders as (
        select user_id
        from order_values
        union
        select user_id
        from refund_values
        union
        select user_id
        from coupon_values
    ),

    -- Sums of integers are integers twice as wide, which take the engine many times as long to read back.
    measured as (
        select
            spenders.user_id,
            order_values.first_order_date,
            order_values.last_order_date,
            cast(coalesce(order_values.orders_count, 0) as bigint) as orders_count,
            cast(coalesce(order_values.orders_count_30d, 0) as bigint) as orders_count_30d,
            cast(coalesce(order_values.orders_count_90d, 0) as bigint) as orders_count_90d,
            cast(coalesce(order_values.orders_count_365d, 0) as bigint) as orders_count_365d,
            coalesce(order_values.order_days_count, 0) as order_days_count,
            coalesce(order_values.gross_amount, 0) as gross_amount,
            coalesce(order_values.refund_amount, 0)
            + coalesce(refund_values.refund_amount, 0) as refund_amount,
            coalesce(order_values.net_amount_365d, 0)
            - coalesce(refund_values.refund_amount_365d, 0) as net_amount_365d,
            coalesce(order_values.discount_amount, 0) as discount_amount
        from spenders
        left join order_values on spenders.user_id = order_values.user_id
        left join refund_values on spenders.user_id = refund_values.user_id
    ),

    final as (
        select
            measured.user_id,
            measured.first_order_date,
            measured.last_order_date,
            {{ days_between("measured.last_order_date", as_of()) }} as days_since_order,
            measured.orders_count,
            measured.orders_count_30d,
            measured.orders_count_90d,
            measured.orders_count_365d,
            measured.order_days_count,
            measured.gross_amount,
            measured.refund_amount,
            measured.gross_amount - measured.refund_amount as net_amount,
            measured.net_amount_365d,
            cast(measured.gross_amount as double) / nullif(measured.orders_count, 0) as average_order_amount,
            measured.discount_amount,
            cast(measured.discount_amount as double)
            / nullif(cast(measured.gross_amount + measured.discount_amount as double), 0) as discount_share,
            cast(coalesce(line_values.items_count, 0) as decimal(18, 4)) as items_count,
            coalesce(line_values.categories_count, 0) as categories_count,
            top_category_l1.category_l1 as top_category,
            top_brand.brand as top_brand,
            top_style.style as top_style,
            top_channels.channel as top_channel,
            coalesce(coupon_values.coupons_available_count, 0) as coupons_available_count,
            coalesce(coupon_values.coupons_used_count, 0) as coupons_used_count
        from measured
        left join line_values on measured.user_id = line_values.user_id
        left join top_category_l1 on measured.user_id = top_category_l1.user_id
        left join top_brand on measured.user_id = top_brand.user_id
        left join top_style on measured.user_id = top_style.user_id
        left join top_channels on measured.user_id = top_channels.user_id
        left join coupon_values on measured.user_id = coupon_values.user_id
    )

select *
from final
