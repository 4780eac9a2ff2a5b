{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as ({{ latest_version(source("raw", "products"), key=["product_id"]) }}),
    final as (
        select
            cast(product_id as varchar) as product_id,
            cast(name as varchar) as name,
            cast(category_l1 as varchar) as category_l1,
            cast(category_l2 as varchar) as category_l2,
            cast(category_l3 as varchar) as category_l3,
            cast(brand as varchar) as brand,
            cast(price as decimal(18, 4)) as price,
            cast(consumption_days as bigint) as consumption_days,
            cast(style as varchar) as style,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_first_arrived_on") }} as date) as _first_arrived_on
        from latest
    )
select *
from final
