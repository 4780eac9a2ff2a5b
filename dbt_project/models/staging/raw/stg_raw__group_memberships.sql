{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["group_id", "id_type", "id", "joined_at"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "group_memberships"), "group_memberships"),
                key=["group_id", "id_type", "id", "joined_at"],
                late=happened("joined_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "group_memberships") }}),
    typed as (
        select
            cast(group_id as varchar) as group_id,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(joined_at as timestamp) as joined_at,
            cast(left_at as timestamp) as left_at,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "group_memberships") }})
select *
from final
