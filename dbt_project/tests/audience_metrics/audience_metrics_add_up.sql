{{ config(meta={"dagster": {"ref": {"name": "audience_metrics"}}}) }}
-- Every day: opening + entered - left = closing, candidates = members + left out + over the limit. Today:
-- each
-- declared audience once, with the members, the holdout, the reasons and the day before that the other
-- marts have.
with

    metrics as (select * from {{ ref("audience_metrics") }}),

    today as (select * from metrics where as_of_date = {{ as_of() }}),

    before as (select * from metrics where as_of_date = {{ add_days(as_of(), -1) }}),

    definitions as (select * from {{ ref("audience_definitions") }}),

    members as (
        select audience, count(*) as members_count, count(case when is_holdout then 1 end) as held_out_count
        from {{ ref("audience_members") }}
        group by audience
    ),

    reasons as (
        select audience, sum(users_count) as suppressed_count
        from {{ ref("audience_suppressions") }}
        where as_of_date = {{ as_of() }}
        group by audience
    ),

    uneven as (
        select audience, as_of_date
        from metrics
        where
            candidates_count <> members_count + suppressed_count + over_limit_count
            or previous_members_count + entered_count - left_count <> members_count
            or change_count <> entered_count - left_count
            or (previous_members_count is null) <> (entered_count is null)
            or (previous_members_count is null) <> (left_count is null)
            or entered_count < 0
            or entered_count > members_count
            or left_count < 0
            or left_count > previous_members_count
            or over_limit_count < 0
            or held_out_count > members_count
            or members_count > users_count
    ),

    different as (
        select coalesce(definitions.audience, today.audience) as audience, today.as_of_date
        from definitions
        full outer join today on definitions.audience = today.audience
        left join before on definitions.audience = before.audience
        left join members on definitions.audience = members.audience
        left join reasons on definitions.audience = reasons.audience
        where
            definitions.audience is null
            or today.audience is null
            or today.definition_hash <> definitions.definition_hash
            or today.members_count <> coalesce(members.members_count, 0)
            or today.held_out_count <> coalesce(members.held_out_count, 0)
            or today.suppressed_count <> coalesce(reasons.suppressed_count, 0)
            or today.previous_members_count <> before.members_count
    ),

    final as (
        select *
        from uneven
        union all
        select *
        from different
    )

select *
from final
