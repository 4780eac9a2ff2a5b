with

    members as (select audience, user_id from {{ ref("audience_members") }}),

    users as (select user_id, user_key from {{ ref("int_identity__users") }}),

    definitions as (select audience from {{ ref("catalog_audience_definitions") }}),

    shared as ({{ audience_pair_counts("members", "users") }}),

    sizes as (
        select definitions.audience, count(members.user_id) as members_count
        from definitions
        left join members on definitions.audience = members.audience
        group by definitions.audience
    ),

    pairs as (
        select
            sizes.audience,
            others.audience as other_audience,
            sizes.members_count,
            others.members_count as other_members_count,
            coalesce(shared.both_count, 0) as both_count
        from sizes
        inner join sizes as others on sizes.audience < others.audience
        left join shared on sizes.audience = shared.audience and others.audience = shared.other_audience
    ),

    final as (
        select
            cast(audience as {{ dbt.type_string() }}) as audience,
            cast(other_audience as {{ dbt.type_string() }}) as other_audience,
            cast({{ as_of() }} as date) as as_of_date,
            cast(members_count as bigint) as members_count,
            cast(other_members_count as bigint) as other_members_count,
            cast(both_count as bigint) as both_count,
            cast(
                cast(both_count as double)
                / nullif(members_count + other_members_count - both_count, 0) as double
            ) as jaccard,
            cast(
                cast(both_count as double) / nullif(least(members_count, other_members_count), 0) as double
            ) as share_of_smaller
        from pairs
    )

select *
from final
