{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["lead_id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "leads"), "leads"),
                key=["lead_id"],
                late=happened("created_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "leads") }}),
    typed as (
        select
            cast(lead_id as varchar) as lead_id,
            cast(created_at as timestamp) as created_at,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(origin as varchar) as origin,
            cast(landing_page as varchar) as landing_page,
            cast(form as varchar) as form,
            cast(mql_at as timestamp) as mql_at,
            cast(sql_at as timestamp) as sql_at,
            cast(won_at as timestamp) as won_at,
            cast(lost_at as timestamp) as lost_at,
            cast(amount as decimal(18, 4)) as amount,
            cast(business_segment as varchar) as business_segment,
            cast(owner_staff_id as varchar) as owner_staff_id,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "leads") }})
select *
from final
