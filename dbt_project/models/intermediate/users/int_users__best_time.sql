with

    touches as (select * from {{ ref("stg_raw__touches") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    behaviour as (select * from {{ ref("int_users__behaviour") }}),

    recent as (
        select touch_id, id_type, id, channel, lower(trim(status)) as status, occurred_at
        from touches
        where
            occurred_at >= {{ day_start(add_days(as_of(), -89)) }}
            and {{ happened("occurred_at") }}
            and lower(trim(status)) in ('delivered', 'opened', 'clicked', 'replied')
    ),

    -- One answer per message, at its first moment.
    messages as (
        select
            lookup.user_id,
            recent.touch_id,
            min(nullif(trim(recent.channel), '')) as channel,
            min(case when recent.status <> 'delivered' then recent.occurred_at end) as answered_at
        from recent
        inner join lookup on recent.id_type = lookup.id_type and recent.id = lookup.id
        group by lookup.user_id, recent.touch_id
    ),

    answered as (
        select user_id, {{ business_hour("answered_at") }} as answer_hour, answered_at
        from messages
        where answered_at is not null
    ),

    evidence as (select user_id, count(*) as answers_count from answered group by user_id),

    ranked_hours as (
        select
            user_id,
            answer_hour,
            row_number() over (
                partition by user_id
                order by
                    count(*) desc nulls last, max(answered_at) desc nulls last, answer_hour asc nulls last
            ) as hour_rank
        from answered
        group by user_id, answer_hour
    ),

    channels as (
        select
            user_id,
            channel,
            count(*) as messages_count,
            count(answered_at) as answers_count,
            max(answered_at) as answered_at
        from messages
        where channel is not null
        group by user_id, channel
    ),

    -- Rule of succession (Laplace): one answer to one message is no certainty.
    ranked_channels as (
        select
            user_id,
            channel,
            row_number() over (
                partition by user_id
                order by
                    cast(answers_count + 1 as double) / (messages_count + 2) desc nulls last,
                    answers_count desc nulls last,
                    answered_at desc nulls last,
                    channel asc nulls last
            ) as channel_rank
        from channels
        where answers_count > 0
    ),

    users as (
        select user_id
        from evidence
        union
        select user_id
        from behaviour
    ),

    judged as (
        select
            users.user_id,
            coalesce(evidence.answers_count >= {{ var("best_time_min_answers") }}, false) as has_answers,
            coalesce(
                behaviour.events_count_90d >= {{ var("best_time_min_activities") }}, false
            ) as has_activities,
            ranked_hours.answer_hour,
            ranked_channels.channel as answer_channel,
            behaviour.usual_hour,
            behaviour.top_touchpoint_90d
        from users
        left join evidence on users.user_id = evidence.user_id
        left join ranked_hours on users.user_id = ranked_hours.user_id and ranked_hours.hour_rank = 1
        left join
            ranked_channels on users.user_id = ranked_channels.user_id and ranked_channels.channel_rank = 1
        left join behaviour on users.user_id = behaviour.user_id
    ),

    final as (
        select
            user_id,
            case when has_answers then answer_hour when has_activities then usual_hour end as best_hour,
            case
                when has_answers then answer_channel when has_activities then top_touchpoint_90d
            end as best_channel
        from judged
    )

select *
from final
