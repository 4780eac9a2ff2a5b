with

    members as (select * from {{ ref("stg_raw__members") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    orders as (select * from {{ ref("int_orders__resolved") }}),

    user_members as (
        select
            lookup.user_id,
            members.member_id,
            {{ business_date("members.registered_at") }} as registered_date,
            members.registered_at,
            members.updated_at,
            {{ gender_code("members.gender") }} as gender,
            case when members.birth_date <= {{ as_of() }} then members.birth_date end as birth_date,
            nullif(trim(members.age_band), '') as age_band,
            nullif(trim(members.income_band), '') as income_band,
            nullif(trim(members.household_size), '') as household_size,
            nullif(trim(members.children_count), '') as children_count,
            nullif(trim(members.country), '') as country,
            nullif(trim(members.province), '') as province,
            nullif(trim(members.city), '') as city,
            nullif(trim(members.industry), '') as industry,
            nullif(trim(members.level), '') as level,
            nullif(trim(members.channel), '') as channel
        from members
        inner join lookup on lookup.id_type = 'member_id' and members.member_id = lookup.id
        where members.registered_at is null or {{ happened("members.registered_at") }}
    ),

    -- Latest row first; place columns are taken together, from the latest row that has any of them.
    ranked as (
        select
            *,
            row_number() over (
                partition by user_id
                order by updated_at desc nulls last, registered_at desc nulls last, member_id desc nulls last
            ) as recency_rank,
            row_number() over (
                partition by user_id order by registered_at asc nulls last, member_id asc nulls last
            ) as registration_rank,
            row_number() over (
                partition by user_id
                order by
                    case when coalesce(country, province, city) is null then 1 else 0 end asc nulls last,
                    updated_at desc nulls last,
                    registered_at desc nulls last,
                    member_id desc nulls last
            ) as place_rank
        from user_members
    ),

    member_values as (
        select
            user_id,
            min_by(gender, recency_rank) filter (where gender is not null) as gender,
            min_by(birth_date, recency_rank) filter (where birth_date is not null) as birth_date,
            min_by(age_band, recency_rank) filter (where age_band is not null) as age_band,
            min_by(income_band, recency_rank) filter (where income_band is not null) as income_band,
            min_by(household_size, recency_rank) filter (where household_size is not null) as household_size,
            min_by(children_count, recency_rank) filter (where children_count is not null) as children_count,
            min_by(industry, recency_rank) filter (where industry is not null) as industry,
            min_by(level, recency_rank) filter (where level is not null) as member_level,
            max(case when place_rank = 1 then country end) as country,
            max(case when place_rank = 1 then province end) as province,
            max(case when place_rank = 1 then city end) as city,
            min(registered_date) as member_registered_date,
            max(case when registration_rank = 1 then channel end) as member_channel
        from ranked
        group by user_id
    ),

    ranked_orders as (
        select
            user_id,
            nullif(trim(country), '') as country,
            row_number() over (
                partition by user_id order by ordered_at desc nulls last, order_id desc nulls last
            ) as recency_rank
        from orders
        where user_id is not null and nullif(trim(country), '') is not null
    ),

    order_countries as (select user_id, country from ranked_orders where recency_rank = 1),

    dated as (
        select
            *,
            {{ add_years("birth_date", "year(" ~ as_of() ~ ") - year(birth_date)") }} as birthday_this_year,
            {{ add_years("birth_date", "year(" ~ as_of() ~ ") - year(birth_date) + 1") }}
            as birthday_next_year
        from member_values
    ),

    aged as (
        select
            *,
            year({{ as_of() }})
            - year(birth_date)
            - case when birthday_this_year > {{ as_of() }} then 1 else 0 end as age_years,
            case
                when birthday_this_year >= {{ as_of() }} then birthday_this_year else birthday_next_year
            end as next_birthday,
            -- Neither a band nor a week changes on the birthday itself, so day by day they do not tell it.
            year({{ as_of() }})
            - year(birth_date)
            - case when month(birth_date) >= month({{ as_of() }}) then 1 else 0 end as band_years,
            {{ add_days(as_of(), "2 - " ~ iso_weekday(add_days(as_of(), 1))) }} as week_start,
            {{ add_days(as_of(), "8 - " ~ iso_weekday(add_days(as_of(), 1))) }} as week_end
        from dated
    ),

    banded as (
        select
            *,
            case
                when band_years > 120
                then age_band
                when band_years < 18
                then '0-17'
                when band_years < 25
                then '18-24'
                when band_years < 35
                then '25-34'
                when band_years < 45
                then '35-44'
                when band_years < 55
                then '45-54'
                when band_years < 65
                then '55-64'
                when band_years >= 65
                then '65+'
                else age_band
            end as known_age_band,
            -- A week may lie in two years.
            {{ add_years("birth_date", "year(week_start) - year(birth_date)") }}
            between week_start and week_end
            or {{ add_years("birth_date", "year(week_end) - year(birth_date)") }}
            between week_start and week_end as is_birthday_week
        from aged
    ),

    final as (
        select
            coalesce(banded.user_id, order_countries.user_id) as user_id,
            banded.gender,
            case when banded.age_years <= 120 then cast(banded.age_years as integer) end as age,
            banded.known_age_band as age_band,
            cast(month(banded.birth_date) as integer) as birth_month,
            cast({{ days_between(as_of(), "banded.next_birthday") }} as integer) as days_to_birthday,
            coalesce(banded.is_birthday_week, false) as is_birthday_week,
            banded.income_band,
            banded.household_size,
            banded.children_count,
            coalesce(banded.country, order_countries.country) as country,
            banded.province,
            banded.city,
            banded.industry,
            banded.user_id is not null as is_member,
            banded.member_level,
            banded.member_registered_date,
            banded.member_channel
        from banded
        full outer join order_countries on banded.user_id = order_countries.user_id
    )

select *
from final
