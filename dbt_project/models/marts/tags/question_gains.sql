with

    askable as (select * from {{ ref("int_tags__askable") }}),

    user_wide as (select user_id, orders_count_90d from {{ ref("user_wide") }}),

    definitions as (select * from {{ ref("catalog_tag_definitions") }}),

    values_counted as (
        select
            askable.tag,
            askable.is_known,
            coalesce(askable.value, '') as value,
            count(*) as users_count,
            count(case when user_wide.orders_count_90d >= 1 then 1 end) as buyers_count
        from askable
        inner join user_wide on askable.user_id = user_wide.user_id
        group by askable.tag, askable.is_known, coalesce(askable.value, '')
    ),

    known as (
        select
            tag,
            count(*) as answers_count,
            sum(users_count) as users_count,
            sum(buyers_count) as buyers_count,
            -- In steps of 1e-9, in any order.
            cast(
                sum(
                    cast(
                        round(
                            users_count * ({{ entropy_bits("buyers_count", "users_count") }}) * 1e9
                        ) as decimal(38, 0)
                    )
                ) as double
            )
            / 1e9 as bits_left
        from values_counted
        where is_known
        group by tag
    ),

    unknown as (
        select tag, sum(users_count) as users_count from values_counted where not is_known group by tag
    ),

    measured as (
        select
            definitions.tag,
            definitions.ask_zh,
            definitions.ask_en,
            coalesce(known.users_count, 0) as known_count,
            coalesce(unknown.users_count, 0) as unknown_count,
            coalesce(known.answers_count, 0) as answers_count,
            {{ entropy_bits("known.buyers_count", "known.users_count") }} as entropy,
            case
                when known.users_count > 0
                then
                    greatest(
                        ({{ entropy_bits("known.buyers_count", "known.users_count") }})
                        - known.bits_left / nullif(known.users_count, 0),
                        0
                    )
            end as information_gain,
            cast(known.answers_count - 1 as double) / (2 * nullif(known.users_count, 0) * ln(2)) as bias
        from definitions
        left join known on definitions.tag = known.tag
        left join unknown on definitions.tag = unknown.tag
        where definitions.ask_en <> '' and definitions.status = 'active'
    ),

    gains as (
        select *, greatest(coalesce(round(information_gain - bias, 9), 0), 0) as expected_gain from measured
    ),

    final as (
        select
            cast(tag as {{ dbt.type_string() }}) as tag,
            cast({{ as_of() }} as date) as as_of_date,
            cast(
                row_number() over (
                    order by expected_gain desc nulls last, unknown_count desc nulls last, tag asc nulls last
                ) as integer
            ) as place,
            cast(ask_zh as {{ dbt.type_string() }}) as ask_zh,
            cast(ask_en as {{ dbt.type_string() }}) as ask_en,
            cast(known_count as bigint) as known_count,
            cast(unknown_count as bigint) as unknown_count,
            cast(answers_count as bigint) as answers_count,
            cast(entropy as double) as entropy,
            cast(information_gain as double) as information_gain,
            cast(expected_gain as double) as expected_gain
        from gains
    )

select *
from final
