{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["response_id", "question"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "surveys"), "surveys"),
                key=["response_id", "question"],
                late=happened("answered_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "surveys") }}),
    typed as (
        select
            cast(response_id as varchar) as response_id,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(answered_at as timestamp) as answered_at,
            cast(question as varchar) as question,
            cast(answer as varchar) as answer,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "surveys") }})
select *
from final
