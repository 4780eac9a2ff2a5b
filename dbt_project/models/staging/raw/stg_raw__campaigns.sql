{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as (
        {{ latest_version(source("raw", "campaigns"), key=["campaign_id"], late=happened("starts_at")) }}
    ),
    final as (
        select
            cast(campaign_id as varchar) as campaign_id,
            cast(name as varchar) as name,
            cast(kind as varchar) as kind,
            cast(starts_at as timestamp) as starts_at,
            cast(ends_at as timestamp) as ends_at,
            cast(cost as decimal(18, 4)) as cost,
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
