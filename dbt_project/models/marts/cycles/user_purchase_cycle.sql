with

    purchases as (select * from {{ ref("int_cycles__purchases") }}),

    products as (select * from {{ ref("stg_raw__products") }}),

    spells as (
        select
            user_id,
            product_id,
            count(*) as purchases_count,
            min(purchase_date) as first_purchase_date,
            max(purchase_date) as last_purchase_date,
            sum(quantity) as quantity,
            max_by(quantity, purchase_date) as last_quantity,
            sum(amount) as amount,
            {{ days_between("max(purchase_date)", as_of()) }} as open_days
        from purchases
        group by user_id, product_id
    ),

    followed as (
        select
            user_id,
            product_id,
            purchase_date,
            lag(purchase_date) over (
                partition by user_id, product_id order by purchase_date asc nulls last
            ) as previous_date
        from purchases
    ),

    intervals as (
        select user_id, product_id, {{ days_between("previous_date", "purchase_date") }} as interval_days
        from followed
        where previous_date is not null
    ),

    medians as ({{ censored_median("intervals", "spells", ["user_id", "product_id"]) }}),

    measured as (
        select
            spells.*,
            spells.purchases_count - 1 as closed_intervals_count,
            cast({{ days_between("spells.first_purchase_date", as_of()) }} as double)
            / nullif(spells.purchases_count - 1, 0) as mean_interval_days,
            medians.median_interval_days,
            case when products.consumption_days > 0 then products.consumption_days end as consumption_days,
            case
                when products.consumption_days > 0
                then
                    least(
                        cast(products.consumption_days as double) * cast(spells.last_quantity as double), 3650
                    )
            end as supply_days
        from spells
        left join medians on spells.user_id = medians.user_id and spells.product_id = medians.product_id
        left join products on spells.product_id = products.product_id
    ),

    weighed as (
        select
            *,
            case
                when supply_days is null
                then median_interval_days
                when median_interval_days is null
                then supply_days
                else
                    (
                        {{ var("cycle_prior_intervals") }} * supply_days
                        + closed_intervals_count * median_interval_days
                    )
                    / ({{ var("cycle_prior_intervals") }} + closed_intervals_count)
            end as weighed_days
        from measured
    ),

    -- Whole days, at least one, so that the date and the ratio say the same.
    expected as (
        select
            *,
            cast(
                case when weighed_days < 1 then 1 else round(weighed_days) end as integer
            ) as expected_interval_days
        from weighed
    ),

    final as (
        select
            cast(user_id as {{ dbt.type_string() }}) as user_id,
            cast(product_id as {{ dbt.type_string() }}) as product_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(purchases_count as bigint) as purchases_count,
            cast(quantity as decimal(18, 4)) as quantity,
            cast(amount as decimal(18, 4)) as amount,
            cast(first_purchase_date as date) as first_purchase_date,
            cast(last_purchase_date as date) as last_purchase_date,
            cast(last_quantity as decimal(18, 4)) as last_quantity,
            cast(open_days as integer) as days_since_purchase,
            cast(closed_intervals_count as bigint) as closed_intervals_count,
            cast(mean_interval_days as decimal(9, 2)) as mean_interval_days,
            cast(median_interval_days as integer) as median_interval_days,
            cast(consumption_days as bigint) as consumption_days,
            cast(supply_days as decimal(9, 2)) as supply_days,
            cast(expected_interval_days as integer) as expected_interval_days,
            cast(
                {{ add_days("last_purchase_date", "expected_interval_days") }} as date
            ) as expected_next_date,
            cast(open_days - expected_interval_days as integer) as overdue_days,
            cast(cast(open_days as double) / expected_interval_days as decimal(9, 4)) as overdue_ratio
        from expected
    )

select *
from final
