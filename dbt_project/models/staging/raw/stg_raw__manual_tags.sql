{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["id_type", "id", "tag", "set_at"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "manual_tags"), "manual_tags"),
                key=["id_type", "id", "tag", "set_at"],
                late=happened("set_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "manual_tags") }}),
    typed as (
        select
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(tag as varchar) as tag,
            cast(set_at as timestamp) as set_at,
            cast(value as varchar) as value,
            cast(set_by as varchar) as set_by,
            cast(cleared_at as timestamp) as cleared_at,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "manual_tags") }})
select *
from final
