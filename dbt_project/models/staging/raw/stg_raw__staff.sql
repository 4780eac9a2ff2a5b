{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as ({{ latest_version(source("raw", "staff"), key=["staff_id"]) }}),
    final as (
        select
            cast(staff_id as varchar) as staff_id,
            cast(name as varchar) as name,
            cast(team as varchar) as team,
            cast(role as varchar) as role,
            cast(persona as varchar) as persona,
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
