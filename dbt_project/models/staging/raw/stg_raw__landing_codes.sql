{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as ({{ latest_version(source("raw", "landing_codes"), key=["state_code"]) }}),
    final as (
        select
            cast(state_code as varchar) as state_code,
            cast(channel as varchar) as channel,
            cast(campaign_id as varchar) as campaign_id,
            cast(cost as decimal(18, 4)) as cost,
            cast(persona as varchar) as persona,
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
