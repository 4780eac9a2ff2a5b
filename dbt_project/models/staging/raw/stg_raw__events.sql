{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["event_id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "events"), "events"),
                key=["event_id"],
                optional_key=true,
                few_repeat=true,
                late=happened("occurred_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", key=["event_id"]) }}),
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
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    )
select *
from final
