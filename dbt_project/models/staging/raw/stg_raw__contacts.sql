{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["contact_id", "staff_id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "contacts"), "contacts"),
                key=["contact_id", "staff_id"],
                late=happened("added_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "contacts") }}),
    typed as (
        select
            cast(contact_id as varchar) as contact_id,
            cast(staff_id as varchar) as staff_id,
            cast(added_at as timestamp) as added_at,
            cast(deleted_at as timestamp) as deleted_at,
            cast(deleted_by as varchar) as deleted_by,
            cast(blocked_at as timestamp) as blocked_at,
            cast(add_way as varchar) as add_way,
            cast(state_code as varchar) as state_code,
            cast(unionid as varchar) as unionid,
            cast(name as varchar) as name,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "contacts") }})
select *
from final
