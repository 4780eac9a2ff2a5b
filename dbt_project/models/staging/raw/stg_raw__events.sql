{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as (
        {{ latest_version(source("raw", "events"), key=["event_id"], optional_key=true, few_repeat=true) }}
    ),
    final as (
        select
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(event_name as varchar) as event_name,
            cast(occurred_at as timestamp) as occurred_at,
            coalesce(cast(event_id as varchar), _file_id || '-' || cast(_record as varchar)) as event_id,
            cast(channel as varchar) as channel,
            cast(touchpoint as varchar) as touchpoint,
            cast(product_id as varchar) as product_id,
            cast(content_id as varchar) as content_id,
            cast(campaign_id as varchar) as campaign_id,
            cast(session_id as varchar) as session_id,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast(_arrived_on as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast(_first_arrived_on as date) as _first_arrived_on
        from latest
    )
select *
from final
