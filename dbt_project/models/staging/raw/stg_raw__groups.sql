{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as ({{ latest_version(source("raw", "groups"), key=["group_id"]) }}),
    final as (
        select
            cast(group_id as varchar) as group_id,
            cast(name as varchar) as name,
            cast(kind as varchar) as kind,
            cast(owner_staff_id as varchar) as owner_staff_id,
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
