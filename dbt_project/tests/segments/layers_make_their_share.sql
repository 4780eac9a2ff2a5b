{{ config(meta={"dagster": {"ref": {"name": "user_layers"}}}) }}
-- The users of the first revenue layer make at least its share of the money, and without their least ones
-- less.
with

    spenders as (select * from {{ ref("user_layers") }} where value_365d > 0),

    counted as (
        select
            sum(value_365d) as total,
            sum(value_365d) filter (where revenue_layer = 'first') as first_total,
            min(value_365d) filter (where revenue_layer = 'first') as least
        from spenders
    ),

    least_ones as (
        select coalesce(sum(spenders.value_365d), 0) as least_total
        from spenders
        cross join counted
        where spenders.revenue_layer = 'first' and spenders.value_365d = counted.least
    ),

    final as (
        select counted.*
        from counted
        cross join least_ones
        where
            100 * counted.first_total < {{ var("layers_revenue_shares")[0] }} * counted.total
            or 100 * (counted.first_total - least_ones.least_total)
            >= {{ var("layers_revenue_shares")[0] }} * counted.total
    )

select *
from final
