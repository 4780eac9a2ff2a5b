{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["member_id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "members"), "members"),
                key=["member_id"],
                late=happened("registered_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "members") }}),
    typed as (
        select
            cast(member_id as varchar) as member_id,
            cast(registered_at as timestamp) as registered_at,
            cast(unionid as varchar) as unionid,
            cast(phone as varchar) as phone,
            cast(email as varchar) as email,
            cast(device_id as varchar) as device_id,
            cast(gender as varchar) as gender,
            cast(birth_date as date) as birth_date,
            cast(age_band as varchar) as age_band,
            cast(income_band as varchar) as income_band,
            cast(household_size as varchar) as household_size,
            cast(children_count as varchar) as children_count,
            cast(country as varchar) as country,
            cast(province as varchar) as province,
            cast(city as varchar) as city,
            cast(industry as varchar) as industry,
            cast(company as varchar) as company,
            cast(level as varchar) as level,
            cast(channel as varchar) as channel,
            cast(updated_at as timestamp) as updated_at,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "members") }})
select *
from final
