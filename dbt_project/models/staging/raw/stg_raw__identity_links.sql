{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["id_type_a", "id_a", "id_type_b", "id_b"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "identity_links"), "identity_links"),
                key=["id_type_a", "id_a", "id_type_b", "id_b"],
                late=happened("linked_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "identity_links") }}),
    typed as (
        select
            cast(id_type_a as varchar) as id_type_a,
            cast(id_a as varchar) as id_a,
            cast(id_type_b as varchar) as id_type_b,
            cast(id_b as varchar) as id_b,
            cast(linked_at as timestamp) as linked_at,
            cast(source as varchar) as source,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "identity_links") }})
select *
from final
