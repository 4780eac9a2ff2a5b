{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as (
        {{
            latest_version(
                source("raw", "experiment_assignments"),
                key=["experiment", "id_type", "id"],
                late=happened("assigned_at"),
            )
        }}
    ),
    final as (
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
            cast({{ counts_from("_first_arrived_on") }} as date) as _first_arrived_on
        from latest
    )
select *
from final
