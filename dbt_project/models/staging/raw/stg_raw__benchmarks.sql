{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as ({{ latest_version(source("raw", "benchmarks"), key=["funnel", "step"]) }}),
    final as (
        select
            cast(funnel as varchar) as funnel,
            cast(step as bigint) as step,
            cast(rate as decimal(18, 4)) as rate,
            cast(source as varchar) as source,
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
