{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as (
        {{
            latest_version(
                source("raw", "channel_costs"),
                key=["cost_date", "channel", "campaign_id"],
                late="cost_date <= " ~ as_of(),
            )
        }}
    ),
    final as (
        select
            cast(cost_date as date) as cost_date,
            cast(channel as varchar) as channel,
            cast(amount as decimal(18, 4)) as amount,
            cast(campaign_id as varchar) as campaign_id,
            cast(impressions as bigint) as impressions,
            cast(clicks as bigint) as clicks,
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
