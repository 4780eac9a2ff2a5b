{%- set attributes = ["region", "age_band", "gender", "industry", "acquisition_channel"] -%}
with

    users as (select * from {{ ref("user_wide") }}),

    regions as (select * from {{ ref("province_regions") }}),

    -- Provinces are written with or without the word for what they are.
    provinces as (
        select
            held.province,
            coalesce(min(regions.region), case when held.province is not null then 'other' end) as region
        from (select distinct province from users) as held
        left join regions on substr(held.province, 1, length(regions.province)) = regions.province
        group by held.province
    ),

    grouped as (
        select
            users.user_id,
            coalesce(provinces.region, 'unknown') as region,
            coalesce(users.province, 'unknown') as province,
            coalesce(users.age_band, 'unknown') as age_band,
            coalesce(users.gender, 'unknown') as gender,
            coalesce(users.industry, 'unknown') as industry,
            coalesce(users.acquisition_channel, 'unknown') as acquisition_channel
        from users
        left join provinces on users.province = provinces.province
    ),

    final as (
        select
            cast(user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(region as {{ dbt.type_string() }}) as region,
            cast(province as {{ dbt.type_string() }}) as province,
            cast(age_band as {{ dbt.type_string() }}) as age_band,
            cast(gender as {{ dbt.type_string() }}) as gender,
            cast(industry as {{ dbt.type_string() }}) as industry,
            cast(acquisition_channel as {{ dbt.type_string() }}) as acquisition_channel,
            cast({{ attributes | join(" || ' · ' || ") }} as {{ dbt.type_string() }}) as combination,
            cast(count(*) over (partition by {{ attributes | join(", ") }}) as bigint) as combination_users
        from grouped
    )

select *
from final
