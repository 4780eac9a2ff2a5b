with

    users as (select * from {{ ref("user_wide") }}),

    scores as (select * from {{ ref("int_rfm__scores") }}),

    cells as (
        select cell, cell_zh, cell_en
        from {{ ref("rfm_cells") }}
        union all
        select 'no_order' as cell, '未下单' as cell_zh, 'No order' as cell_en
    ),

    measured as (
        select
            coalesce(scores.cell, 'no_order') as cell,
            count(*) as users,
            sum(scores.recency_days) as recency_days,
            sum(scores.frequency) as frequency,
            sum(scores.monetary) as monetary,
            sum(users.orders_count) as orders_count,
            sum(users.net_amount) as net_amount,
            count(*) filter (where users.order_days_count >= 2) as repeat_users,
            sum(users.touches_delivered_count_90d) as touches_delivered_count_90d,
            sum(users.touches_clicked_count_90d) as touches_clicked_count_90d
        from users
        left join scores on users.user_id = scores.user_id
        group by coalesce(scores.cell, 'no_order')
    ),

    totals as (
        select sum(users) as users, sum(monetary) as monetary, sum(net_amount) as net_amount from measured
    ),

    final as (
        select
            cast(cells.cell as varchar) as cell,
            cast(cells.cell_zh as varchar) as cell_zh,
            cast(cells.cell_en as varchar) as cell_en,
            cast({{ as_of() }} as date) as as_of_date,
            cast(coalesce(measured.users, 0) as bigint) as users,
            cast(
                cast(coalesce(measured.users, 0) as double) / nullif(totals.users, 0) as decimal(9, 6)
            ) as users_share,
            cast(coalesce(measured.monetary, 0) as decimal(18, 4)) as monetary,
            cast(
                cast(coalesce(measured.monetary, 0) as double)
                / nullif(cast(totals.monetary as double), 0) as decimal(9, 6)
            ) as monetary_share,
            cast(coalesce(measured.orders_count, 0) as bigint) as orders_count,
            cast(coalesce(measured.net_amount, 0) as decimal(18, 4)) as net_amount,
            cast(
                cast(measured.net_amount as double) / nullif(measured.orders_count, 0) as decimal(18, 4)
            ) as average_order_amount,
            cast(
                cast(measured.recency_days as double) / nullif(measured.users, 0) as decimal(18, 4)
            ) as average_recency_days,
            cast(
                cast(measured.frequency as double) / nullif(measured.users, 0) as decimal(18, 4)
            ) as average_frequency,
            cast(
                cast(measured.monetary as double) / nullif(measured.users, 0) as decimal(18, 4)
            ) as average_monetary,
            cast(coalesce(measured.repeat_users, 0) as bigint) as repeat_users,
            cast(
                cast(measured.repeat_users as double) / nullif(measured.users, 0) as decimal(9, 6)
            ) as repurchase_rate,
            cast(coalesce(measured.touches_delivered_count_90d, 0) as bigint) as touches_delivered_count_90d,
            cast(coalesce(measured.touches_clicked_count_90d, 0) as bigint) as touches_clicked_count_90d,
            cast(
                cast(measured.touches_clicked_count_90d as double)
                / nullif(measured.touches_delivered_count_90d, 0) as decimal(9, 4)
            ) as clicks_per_delivered_90d
        from cells
        cross join totals
        left join measured on cells.cell = measured.cell
    )

select *
from final
