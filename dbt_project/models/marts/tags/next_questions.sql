with

    askable as (select * from {{ ref("int_tags__askable") }} where not is_known),

    gains as (select * from {{ ref("question_gains") }} where expected_gain > 0),

    -- Whom a question reaches: a contact who has blocked nobody, or somebody who agreed to be written to.
    reachable as (
        select user_id, coalesce(net_amount_365d, 0) as net_amount_365d
        from {{ ref("user_wide") }}
        where not coalesce(is_blocked, false) and coalesce(is_contact or is_marketing_consented, false)
    ),

    asked as (
        select
            askable.user_id,
            askable.tag,
            gains.ask_zh,
            gains.ask_en,
            gains.expected_gain,
            reachable.net_amount_365d,
            row_number() over (partition by askable.user_id order by gains.place asc nulls last) as place
        from askable
        inner join gains on askable.tag = gains.tag
        inner join reachable on askable.user_id = reachable.user_id
    ),

    final as (
        select
            cast(user_id as {{ dbt.type_string() }}) as user_id,
            cast(place as integer) as place,
            cast(tag as {{ dbt.type_string() }}) as tag,
            cast(ask_zh as {{ dbt.type_string() }}) as ask_zh,
            cast(ask_en as {{ dbt.type_string() }}) as ask_en,
            cast(expected_gain as double) as expected_gain,
            -- Where one question can be asked of few users only: those of most value first.
            cast(
                row_number() over (
                    partition by place
                    order by
                        expected_gain desc nulls last, net_amount_365d desc nulls last, user_id asc nulls last
                ) as bigint
            ) as user_place
        from asked
        where place <= 3
    )

select *
from final
