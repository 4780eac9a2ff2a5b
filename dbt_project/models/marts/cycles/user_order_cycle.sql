with

    orders as (
        select *
        from {{ ref("int_orders__resolved") }}
        where user_id is not null and is_paid and not is_fully_refunded
    ),

    order_days as (select user_id, ordered_date from orders group by user_id, ordered_date),

    followed as (
        select
            user_id,
            ordered_date,
            lag(ordered_date) over (
                partition by user_id order by ordered_date asc nulls last
            ) as previous_date,
            row_number() over (partition by user_id order by ordered_date asc nulls last) as day_number
        from order_days
    ),

    spells as (
        select
            user_id,
            count(*) as order_days_count,
            min(ordered_date) as first_order_date,
            max(case when day_number = 2 then ordered_date end) as second_order_date,
            max(ordered_date) as last_order_date,
            {{ days_between("max(ordered_date)", as_of()) }} as open_days
        from followed
        group by user_id
    ),

    intervals as (
        select user_id, {{ days_between("previous_date", "ordered_date") }} as interval_days
        from followed
        where previous_date is not null
    ),

    medians as ({{ censored_median("intervals", "spells", ["user_id"]) }}),

    final as (
        select
            cast(spells.user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(spells.order_days_count as bigint) as order_days_count,
            cast(spells.first_order_date as date) as first_order_date,
            cast(spells.second_order_date as date) as second_order_date,
            cast(spells.last_order_date as date) as last_order_date,
            cast(spells.open_days as integer) as days_since_order,
            cast(
                cast({{ days_between("spells.first_order_date", as_of()) }} as double)
                / nullif(spells.order_days_count - 1, 0) as decimal(9, 2)
            ) as mean_interval_days,
            cast(medians.median_interval_days as integer) as expected_interval_days,
            cast(
                {{ add_days("spells.last_order_date", "medians.median_interval_days") }} as date
            ) as expected_next_date,
            cast(spells.open_days - medians.median_interval_days as integer) as overdue_days,
            cast(
                cast(spells.open_days as double) / medians.median_interval_days as decimal(9, 4)
            ) as overdue_ratio
        from spells
        left join medians on spells.user_id = medians.user_id
    )

select *
from final
