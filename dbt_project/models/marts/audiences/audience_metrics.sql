{{
    config(
        materialized="by_date",
        meta={"by_date": "as_of_date"},
    )
}}

with

    candidates as (select * from {{ ref("int_audiences__candidates") }}),

    history as (select * from {{ ref("audience_history") }}),

    definitions as (select * from {{ ref("catalog_audience_definitions") }}),

    users as (select count(*) as users_count from {{ ref("user_wide") }}),

    -- Only a day inside the window that every run fills is looked at, so that it does not matter which
    -- days happen to have been built before.
    held as (
        {% if holds_days() and var("history_days") > 1 %}
            select audience, members_count from {{ this }} where as_of_date = {{ add_days(as_of(), -1) }}
        {% else %}select audience, 0 as members_count from definitions where false
        {% endif %}
    ),

    before as (select audience, user_id from history where as_of_date = {{ add_days(as_of(), -1) }}),

    counted as (
        select
            candidates.audience,
            count(*) as candidates_count,
            count(candidates.suppressed_by) as suppressed_count,
            count(case when candidates.is_member then 1 end) as members_count,
            count(
                case
                    when
                        candidates.is_member
                        and {{ hash_bucket("definitions.holdout_salt", "candidates.user_id") }}
                        < cast(definitions.holdout_buckets as bigint)
                    then 1
                end
            ) as held_out_count,
            count(case when candidates.is_member and before.user_id is null then 1 end) as entered_count,
            count(case when candidates.is_member and before.user_id is not null then 1 end) as stayed_count
        from candidates
        inner join definitions on candidates.audience = definitions.audience
        left join before on candidates.audience = before.audience and candidates.user_id = before.user_id
        group by candidates.audience
    ),

    sizes as (
        select
            definitions.audience,
            definitions.definition_hash,
            coalesce(counted.candidates_count, 0) as candidates_count,
            coalesce(counted.suppressed_count, 0) as suppressed_count,
            coalesce(counted.members_count, 0) as members_count,
            coalesce(counted.held_out_count, 0) as held_out_count,
            held.members_count as previous_members_count,
            case when held.audience is not null then coalesce(counted.entered_count, 0) end as entered_count,
            held.members_count - coalesce(counted.stayed_count, 0) as left_count
        from definitions
        left join counted on definitions.audience = counted.audience
        left join held on definitions.audience = held.audience
    ),

    final as (
        select
            cast(sizes.audience as {{ dbt.type_string() }}) as audience,
            cast({{ as_of() }} as date) as as_of_date,
            cast(sizes.candidates_count as bigint) as candidates_count,
            cast(sizes.suppressed_count as bigint) as suppressed_count,
            cast(
                sizes.candidates_count - sizes.suppressed_count - sizes.members_count as bigint
            ) as over_limit_count,
            cast(sizes.members_count as bigint) as members_count,
            cast(sizes.held_out_count as bigint) as held_out_count,
            cast(sizes.previous_members_count as bigint) as previous_members_count,
            cast(sizes.entered_count as bigint) as entered_count,
            cast(sizes.left_count as bigint) as left_count,
            cast(sizes.members_count - sizes.previous_members_count as bigint) as change_count,
            cast(
                cast(sizes.members_count - sizes.previous_members_count as double)
                / nullif(sizes.previous_members_count, 0) as double
            ) as change_rate,
            cast(users.users_count as bigint) as users_count,
            cast(
                cast(sizes.members_count as double) / nullif(users.users_count, 0) as double
            ) as members_share,
            cast(sizes.definition_hash as {{ dbt.type_string() }}) as definition_hash
        from sizes
        cross join users
    )

select *
from final
