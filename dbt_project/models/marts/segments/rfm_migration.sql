with

    held as (
        select *
        from {{ ref("rfm_daily") }}
        where as_of_date between {{ add_days(as_of(), 1 - var("history_days")) }} and {{ as_of() }}
    ),

    window_days as ({{ day_series(add_days(as_of(), 1 - var("history_days")), as_of()) }}),

    -- From every held day to as_of, and from each day to the next one.
    pairs as (
        select day as from_date, {{ as_of() }} as to_date
        from window_days
        where day < {{ as_of() }}
        union
        select day as from_date, {{ add_days("day", 1) }} as to_date
        from window_days
        where day < {{ as_of() }}
    ),

    -- Both days of a user in one row each; a day without a row is a day without an order that counts.
    sides as (
        select
            pairs.from_date,
            pairs.to_date,
            held.user_id,
            max(case when held.as_of_date = pairs.from_date then held.cell end) as from_cell,
            max(case when held.as_of_date = pairs.to_date then held.cell end) as to_cell,
            max(case when held.as_of_date = pairs.from_date then held.monetary end) as from_monetary,
            max(case when held.as_of_date = pairs.to_date then held.monetary end) as to_monetary
        from pairs
        inner join held on held.as_of_date = pairs.from_date or held.as_of_date = pairs.to_date
        group by pairs.from_date, pairs.to_date, held.user_id
    ),

    final as (
        select
            cast(from_date as date) as from_date,
            cast(to_date as date) as to_date,
            cast(coalesce(from_cell, 'no_order') as varchar) as from_cell,
            cast(coalesce(to_cell, 'no_order') as varchar) as to_cell,
            cast(count(*) as bigint) as users,
            cast(coalesce(sum(from_monetary), 0) as decimal(18, 4)) as from_monetary,
            cast(coalesce(sum(to_monetary), 0) as decimal(18, 4)) as to_monetary,
            cast(
                coalesce(sum(to_monetary), 0) - coalesce(sum(from_monetary), 0) as decimal(18, 4)
            ) as monetary_change
        from sides
        group by from_date, to_date, coalesce(from_cell, 'no_order'), coalesce(to_cell, 'no_order')
    )

select *
from final
