{{ config(meta={"dagster": {"ref": {"name": "audience_overlap"}}}) }}
-- Each pair of audiences once, with their sizes; what two share is no more than the smaller one has. Summed
-- over the
-- pairs, every user counts once for each pair of audiences that hold her.
with

    pairs as (select * from {{ ref("audience_overlap") }}),

    metrics as (select * from {{ ref("audience_metrics") }} where as_of_date = {{ as_of() }}),

    expected as (
        select
            metrics.audience,
            others.audience as other_audience,
            metrics.members_count,
            others.members_count as others_count
        from metrics
        inner join metrics as others on metrics.audience < others.audience
    ),

    wrong as (
        select
            coalesce(pairs.audience, expected.audience) as audience,
            coalesce(pairs.other_audience, expected.other_audience) as other_audience
        from pairs
        full outer join
            expected on pairs.audience = expected.audience and pairs.other_audience = expected.other_audience
        where
            pairs.audience is null
            or expected.audience is null
            or pairs.members_count <> expected.members_count
            or pairs.other_members_count <> expected.others_count
            or pairs.both_count < 0
            or pairs.both_count > least(pairs.members_count, pairs.other_members_count)
            or pairs.jaccard > pairs.share_of_smaller
    ),

    held_in as (
        select user_id, count(*) as audiences_count from {{ ref("audience_members") }} group by user_id
    ),

    totals as (
        select
            (select coalesce(sum(both_count), 0) from pairs) as of_pairs,
            (select coalesce(sum(audiences_count * (audiences_count - 1) / 2), 0) from held_in) as of_users
    ),

    final as (
        select audience, other_audience
        from wrong
        union all
        select 'all', 'all'
        from totals
        where of_pairs <> of_users
    )

select *
from final
