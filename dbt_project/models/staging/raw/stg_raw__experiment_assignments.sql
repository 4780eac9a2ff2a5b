{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["experiment", "id_type", "id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "experiment_assignments"), "experiment_assignments"),
                key=["experiment", "id_type", "id"],
                late=happened("assigned_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "experiment_assignments") }}),
    typed as (
        select
            cast(experiment as varchar) as experiment,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(arm as varchar) as arm,
            cast(assigned_at as timestamp) as assigned_at,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "experiment_assignments") }})
select *
from final
