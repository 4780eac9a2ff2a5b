{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as (
        {{
            latest_version(
                source("raw", "targets"),
                key=["metric", "period_start", "period_end", "owner"],
                late="period_start <= " ~ as_of(),
            )
        }}
    ),
    final as (
        select
            cast(metric as varchar) as metric,
            cast(period_start as date) as period_start,
            cast(period_end as date) as period_end,
            cast(target as decimal(18, 4)) as target,
            cast(owner as varchar) as owner,
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
