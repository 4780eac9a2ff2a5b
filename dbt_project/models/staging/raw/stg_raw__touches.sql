{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["touch_id", "status"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "touches"), "touches"),
                key=["touch_id", "status"],
                few_repeat=true,
                late=happened("occurred_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "touches") }}),
    typed as (
        select
            cast(touch_id as varchar) as touch_id,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(channel as varchar) as channel,
            cast(status as varchar) as status,
            cast(occurred_at as timestamp) as occurred_at,
            cast(campaign_id as varchar) as campaign_id,
            cast(journey_node as varchar) as journey_node,
            cast(content_id as varchar) as content_id,
            cast(staff_id as varchar) as staff_id,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "touches") }})
select *
from final
