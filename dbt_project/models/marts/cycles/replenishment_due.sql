with

    cycles as (select * from {{ ref("user_purchase_cycle") }}),

    due as (
        select
            *,
            cast(
                round(
                    cast(amount as double) / purchases_count / greatest(cast(overdue_ratio as double), 1), 4
                ) as decimal(18, 4)
            ) as priority_amount
        from cycles
        where
            (supply_days is not null or closed_intervals_count >= {{ var("cycle_min_intervals") }})
            and expected_next_date <= {{ add_days(as_of(), var("cycle_horizon_days")) }}
            and overdue_ratio <= {{ var("cycle_max_overdue_ratio") }}
    ),

    final as (
        select
            cast(
                row_number() over (
                    order by
                        priority_amount desc nulls last,
                        overdue_ratio desc nulls last,
                        user_id asc nulls last,
                        product_id asc nulls last
                ) as bigint
            ) as due_rank,
            cast(user_id as {{ dbt.type_string() }}) as user_id,
            cast(product_id as {{ dbt.type_string() }}) as product_id,
            cast(as_of_date as date) as as_of_date,
            cast(last_purchase_date as date) as last_purchase_date,
            cast(last_quantity as decimal(18, 4)) as last_quantity,
            cast(purchases_count as bigint) as purchases_count,
            cast(expected_interval_days as integer) as expected_interval_days,
            cast(expected_next_date as date) as expected_next_date,
            cast(overdue_days as integer) as overdue_days,
            cast(overdue_ratio as decimal(9, 4)) as overdue_ratio,
            cast(priority_amount as decimal(18, 4)) as priority_amount
        from due
    )

select *
from final
