with

    sources as (select * from {{ ref("catalog_tag_sources") }}),

    strengths as (
        select activity, strength, row_number() over (order by activity asc nulls last) as activity_number
        from {{ ref("interest_strengths") }}
    ),

    questions as (select * from {{ ref("interest_questions") }}),

    users as (select user_id, {{ row_hash(["user_id"]) }} as owner_key from {{ ref("int_identity__users") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    sums as (select * from {{ ref("int_interests__sums") }}),

    answers as (
        select
            lookup.user_id,
            surveys.question,
            trim(surveys.answer) as answer,
            surveys.answered_at,
            {{ business_date("surveys.answered_at") }} as answered_on,
            row_number() over (
                partition by lookup.user_id, surveys.question
                order by surveys.answered_at desc nulls last, surveys.response_id desc nulls last
            ) as newness
        from {{ ref("stg_raw__surveys") }} as surveys
        inner join lookup on surveys.id_type = lookup.id_type and surveys.id = lookup.id
        where {{ happened("surveys.answered_at") }} and trim(surveys.answer) <> ''
    ),

    -- The day as of which a sum stands lies back; what it has lost since is the same for all its parts.
    interest_parts as (
        select
            users.user_id,
            sums.tag,
            sums.value,
            sums.weight_then * pow(
                0.5, cast({{ days_between("sums.last_date", as_of()) }} as double) / sums.half_life_days
            ) as weight,
            sums.first_date as first_on,
            sums.last_date as last_on,
            sums.facts_count,
            sums.latest_at
        from sums
        inner join users on sums.owner_key = users.owner_key
        union all
        select
            answers.user_id,
            sources.tag,
            answers.answer as value,
            cast(
                sum(
                    cast(
                        round(
                            cast(strengths.strength as double) * pow(
                                0.5,
                                cast({{ days_between("answers.answered_on", as_of()) }} as double)
                                / sources.half_life_days
                            )
                            * 1073741824
                        ) as decimal(38, 0)
                    )
                ) as double
            )
            / 1073741824 as weight,
            min(answers.answered_on) as first_on,
            max(answers.answered_on) as last_on,
            count(*) as facts_count,
            max(
                {{ funnel_microseconds("answers.answered_at") }} * 1000 + strengths.activity_number
            ) as latest_at
        from answers
        inner join questions on answers.question = questions.question
        inner join sources on questions.dimension = sources.dimension and sources.kind = 'interest'
        inner join strengths on strengths.activity = 'survey_answered'
        group by answers.user_id, sources.tag, answers.answer
    ),

    weighed as (
        select
            interest_parts.user_id,
            interest_parts.tag,
            interest_parts.value,
            sources.half_life_days,
            cast(sources.floor as double) as floor,
            sources.top,
            sum(interest_parts.weight) as weight,
            min(interest_parts.first_on) as first_on,
            max(interest_parts.last_on) as last_on,
            sum(interest_parts.facts_count) as facts_count,
            max(interest_parts.latest_at) as latest_at
        from interest_parts
        inner join sources on interest_parts.tag = sources.tag
        group by
            interest_parts.user_id,
            interest_parts.tag,
            interest_parts.value,
            sources.half_life_days,
            sources.floor,
            sources.top
    ),

    placed as (
        select
            *,
            round(weight, 9) >= floor as is_set,
            row_number() over (
                partition by user_id, tag
                order by weight desc nulls last, last_on desc nulls last, value asc nulls last
            ) as place
        from weighed
    ),

    interests as (
        select
            placed.user_id,
            placed.tag,
            placed.value,
            placed.place,
            placed.is_set,
            placed.weight,
            -- Shares are of the values that are set, those below the places shown included.
            case
                when placed.is_set
                then
                    placed.weight / sum(case when placed.is_set then placed.weight end) over (
                        partition by placed.user_id, placed.tag
                        order by placed.place asc nulls last
                        rows between unbounded preceding and unbounded following
                    )
            end as share,
            placed.first_on,
            placed.last_on,
            case
                when placed.is_set
                then
                    {{
                        add_days(
                            as_of(),
                            "floor(placed.half_life_days * log2(placed.weight / placed.floor) + 1e-9) + 1",
                        )
                    }}
            end as expires_on,
            placed.facts_count,
            strengths.activity as last_activity,
            placed.top
        from placed
        left join strengths on placed.latest_at % 1000 = strengths.activity_number
    ),

    answered as (
        select
            answers.user_id,
            sources.tag,
            answers.answer as value,
            answers.answered_on as first_on,
            answers.answered_on as last_on,
            {{ add_days("answers.answered_on", "sources.validity_days") }} as expires_on,
            'survey_answered' as last_activity
        from answers
        inner join sources on answers.question = sources.question and sources.kind = 'question'
        where answers.newness = 1
    ),

    entries as (
        select
            lookup.user_id,
            sources.tag,
            coalesce(nullif(trim(manual_tags.value), ''), 'true') as value,
            manual_tags.set_at,
            manual_tags.set_by,
            case when {{ happened("manual_tags.cleared_at") }} then manual_tags.cleared_at end as cleared_at,
            sources.validity_days
        from {{ ref("stg_raw__manual_tags") }} as manual_tags
        inner join lookup on manual_tags.id_type = lookup.id_type and manual_tags.id = lookup.id
        inner join sources on manual_tags.tag = sources.tag and sources.kind = 'by_hand'
        where {{ happened("manual_tags.set_at") }}
    ),

    -- Clearing takes back what was set until then, also from another row.
    standing_entries as (
        select
            *,
            row_number() over (
                partition by user_id, tag
                order by set_at desc nulls last, set_by desc nulls last, value asc nulls last
            ) as newness,
            min(set_at) over (partition by user_id, tag) as first_set_at,
            count(*) over (partition by user_id, tag) as entries_count
        from
            (
                select *, max(cleared_at) over (partition by user_id, tag) as last_cleared_at from entries
            ) as entries
        where cleared_at is null and (last_cleared_at is null or set_at > last_cleared_at)
    ),

    by_hand as (
        select
            user_id,
            tag,
            value,
            {{ business_date("first_set_at") }} as first_on,
            {{ business_date("set_at") }} as last_on,
            {{ add_days(business_date("set_at"), "validity_days") }} as expires_on,
            entries_count
        from standing_entries
        where newness = 1
    ),

    final as (
        select
            user_id,
            tag,
            value,
            cast(place as integer) as place,
            is_set,
            weight,
            share,
            first_on,
            last_on,
            expires_on,
            cast(facts_count as bigint) as evidence_count,
            last_activity
        from interests
        where place = 1 or (is_set and place <= top)
        union all
        select
            user_id,
            tag,
            value,
            1 as place,
            coalesce({{ as_of() }} < expires_on, true) as is_set,
            cast(1 as double) as weight,
            cast(1 as double) as share,
            first_on,
            last_on,
            expires_on,
            cast(1 as bigint) as evidence_count,
            last_activity
        from answered
        union all
        select
            user_id,
            tag,
            value,
            1 as place,
            coalesce({{ as_of() }} < expires_on, true) as is_set,
            cast(1 as double) as weight,
            cast(1 as double) as share,
            first_on,
            last_on,
            expires_on,
            cast(entries_count as bigint) as evidence_count,
            'manual_tag_set' as last_activity
        from by_hand
    )

select *
from final
