{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["id_type", "id", "purpose", "channel", "changed_at"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "consents"), "consents"),
                key=["id_type", "id", "purpose", "channel", "changed_at"],
                late=happened("changed_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "consents") }}),
    typed as (
        select
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(purpose as varchar) as purpose,
            cast(channel as varchar) as channel,
            cast(status as varchar) as status,
            cast(changed_at as timestamp) as changed_at,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "consents") }})
select *
from final
