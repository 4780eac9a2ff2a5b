{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["request_id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "erasure_requests"), "erasure_requests"),
                key=["request_id"],
                late=happened("requested_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "erasure_requests") }}),
    typed as (
        select
            cast(request_id as varchar) as request_id,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(requested_at as timestamp) as requested_at,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "erasure_requests") }})
select *
from final
