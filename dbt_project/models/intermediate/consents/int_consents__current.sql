with

    consents as (select * from {{ ref("stg_raw__consents") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    user_consents as (
        select
            lookup.user_id,
            lower(trim(consents.purpose)) as purpose,
            lower(trim(consents.channel)) as channel,
            coalesce(lower(trim(consents.status)) = 'granted', false) as is_granted,
            consents.changed_at
        from consents
        inner join lookup on consents.id_type = lookup.id_type and consents.id = lookup.id
        where {{ happened("consents.changed_at") }}
    ),

    -- What is said about channel "all" is said about every channel the user has a row for.
    user_channels as (select distinct user_id, purpose, channel from user_consents),

    statements as (
        select user_id, purpose, channel, is_granted, changed_at
        from user_consents
        union all
        select
            user_channels.user_id,
            user_channels.purpose,
            user_channels.channel,
            user_consents.is_granted,
            user_consents.changed_at
        from user_channels
        inner join
            user_consents
            on user_channels.user_id = user_consents.user_id
            and user_channels.purpose = user_consents.purpose
        where user_consents.channel = 'all' and user_channels.channel <> 'all'
    ),

    -- Of two statements of the same instant the withdrawal counts.
    ranked as (
        select
            *,
            row_number() over (
                partition by user_id, purpose, channel
                order by changed_at desc nulls last, is_granted asc nulls first
            ) as recency_rank
        from statements
    ),

    final as (select user_id, purpose, channel, is_granted, changed_at from ranked where recency_rank = 1)

select *
from final
