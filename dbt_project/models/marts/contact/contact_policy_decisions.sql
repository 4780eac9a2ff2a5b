{#- The day for which the policy decides: the one after as_of. -#}
{%- set send_date = add_days(as_of(), 1) -%}
{#- Statuses that prove that a message went out. -#}
{%- set sent -%} ('sent', 'delivered', 'opened', 'clicked', 'replied', 'converted') {%- endset -%}
{%- set unlimited = 1000000000 -%}
with

    activations as (
        select
            activation,
            audience,
            destination,
            lower(trim(purpose)) as purpose,
            lower(trim(channel)) as channel,
            priority,
            nullif(trim(sends_at), '') as sends_at,
            nullif(trim(content_id), '') as content_id
        from {{ ref("catalog_activations") }}
    ),

    rules as (select * from {{ ref("contact_rules") }}),

    members as (select * from {{ ref("audience_members") }}),

    users as (select * from {{ ref("user_wide") }}),

    consents as (select * from {{ ref("int_consents__current") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    erasure_requests as (select * from {{ ref("stg_raw__erasure_requests") }}),

    -- Each cap with the first day that counts, and its limit on the day of sending.
    caps as (
        select
            cap,
            lower(trim(channel)) as channel,
            lower(trim(purpose)) as purpose,
            case
                period
                when 'month'
                then cast(date_trunc('month', {{ send_date }}) as date)
                when 'week'
                then cast(date_trunc('week', {{ send_date }}) as date)
                else {{ add_days(send_date, "1 - days") }}
            end as first_date,
            coalesce(
                max_sends,
                {{
                    days_between(
                        "date_trunc('month', " ~ send_date ~ ")",
                        "date_trunc('month', " ~ send_date ~ ") + interval 1 month",
                    )
                }}
            ) as max_sends
        from {{ ref("contact_caps") }}
    ),

    -- The most specific rule of each activation line; without any, what the law asks for.
    fitting as (
        select
            activations.activation,
            rules.*,
            row_number() over (
                partition by activations.activation
                order by
                    case when rules.channel = '*' then 1 else 0 end asc nulls last,
                    case when rules.purpose = '*' then 1 else 0 end asc nulls last
            ) as fit_rank
        from activations
        inner join
            rules
            on lower(trim(rules.channel)) in (activations.channel, '*')
            and lower(trim(rules.purpose)) in (activations.purpose, '*')
    ),

    lines as (
        select
            activations.*,
            coalesce(fitting.disturbs, true) as disturbs,
            coalesce(
                fitting.without_consent = 'allowed', activations.purpose = 'service'
            ) as is_allowed_without_consent,
            coalesce(fitting.needs_contact, false) as needs_contact,
            coalesce(
                case
                    when fitting.quiet_from < fitting.quiet_until
                    then
                        activations.sends_at >= fitting.quiet_from
                        and activations.sends_at < fitting.quiet_until
                    else
                        activations.sends_at >= fitting.quiet_from
                        or activations.sends_at < fitting.quiet_until
                end,
                false
            ) as is_quiet,
            fitting.quiet_from || '-' || fitting.quiet_until as quiet_hours,
            fitting.cool_down_days,
            fitting.content_repeat_days
        from activations
        left join fitting on activations.activation = fitting.activation and fitting.fit_rank = 1
    ),

    asked as (select distinct purpose, channel from lines),

    -- How far back messages matter for caps and for content.
    horizon as (
        select least(min(first_date), min(repeated_date)) as first_date
        from
            (
                select first_date, cast(null as date) as repeated_date
                from caps
                union all
                select
                    cast(null as date) as first_date,
                    {{ add_days(send_date, "-content_repeat_days") }} as repeated_date
                from lines
                where content_id is not null
            ) as days
    ),

    touches as (select * from {{ ref("stg_raw__touches") }} where {{ happened("occurred_at") }}),

    -- All statuses of the messages that were heard of since then: the first one may be older.
    recent as (
        select distinct touch_id
        from touches
        where occurred_at >= (select {{ day_start("first_date") }} from horizon)
    ),

    -- Nobody else's messages matter; without a line nothing is read.
    reached as (
        select lookup.id_type, lookup.id, lookup.user_id
        from lookup
        where
            lookup.user_id
            in (select members.user_id from members inner join lines on members.audience = lines.audience)
    ),

    answers as (
        select
            reached.user_id,
            lower(trim(touches.channel)) as channel,
            lower(trim(touches.status)) as status,
            touches.touch_id,
            touches.content_id,
            touches.occurred_at,
            {{ business_date("touches.occurred_at") }} as occurred_date
        from touches
        inner join reached on touches.id_type = reached.id_type and touches.id = reached.id
        where
            lower(trim(touches.status)) = 'unsubscribed' or touches.touch_id in (select touch_id from recent)
    ),

    -- A message counts once, on the first day that proves that it went out; one that is planned (a task
    -- that a member has still to confirm, say) counts unless it failed.
    messages as (
        select
            user_id,
            channel,
            touch_id,
            min(content_id) as content_id,
            coalesce(
                min(case when status in {{ sent }} then occurred_date end),
                min(case when status = 'planned' then occurred_date end)
            ) as sent_date
        from answers
        where status in {{ sent }} or status in ('planned', 'failed')
        group by user_id, channel, touch_id
        having
            bool_or(status in {{ sent }}) or (bool_or(status = 'planned') and not bool_or(status = 'failed'))
    ),

    used as (
        select messages.user_id, caps.cap, caps.channel, caps.purpose, caps.max_sends, count(*) as used_count
        from messages
        cross join caps
        where messages.sent_date >= caps.first_date and caps.channel in (messages.channel, '*')
        group by messages.user_id, caps.cap, caps.channel, caps.purpose, caps.max_sends
    ),

    full_caps as (
        select asked.purpose, asked.channel, used.user_id, min(used.cap) as cap
        from asked
        inner join used on used.channel in (asked.channel, '*') and used.purpose in (asked.purpose, '*')
        where used.used_count >= used.max_sends
        group by asked.purpose, asked.channel, used.user_id
    ),

    seen as (
        select lines.activation, messages.user_id, max(messages.sent_date) as sent_date
        from lines
        inner join messages on lines.content_id = messages.content_id
        where lines.disturbs and messages.sent_date >= {{ add_days(send_date, "-lines.content_repeat_days") }}
        group by lines.activation, messages.user_id
    ),

    unsubscribed as (
        select user_id, channel, max(occurred_at) as unsubscribed_at
        from answers
        where status = 'unsubscribed'
        group by user_id, channel
    ),

    erased as (
        select distinct lookup.user_id
        from erasure_requests
        inner join lookup on erasure_requests.id_type = lookup.id_type and erasure_requests.id = lookup.id
        where {{ happened("erasure_requests.requested_at") }}
    ),

    -- What was said on the channel itself counts before what was said on "all".
    stated as (
        select
            asked.purpose,
            asked.channel,
            consents.user_id,
            consents.is_granted,
            consents.changed_at,
            row_number() over (
                partition by consents.user_id, asked.purpose, asked.channel
                order by case when consents.channel = 'all' then 1 else 0 end asc nulls last
            ) as channel_rank
        from asked
        inner join consents on asked.purpose = consents.purpose and consents.channel in (asked.channel, 'all')
    ),

    said as (select * from stated where channel_rank = 1),

    wishes as (
        select
            lines.activation,
            members.user_id,
            lines.audience,
            lines.destination,
            lines.channel,
            lines.purpose,
            lines.priority,
            lines.disturbs,
            case
                when erased.user_id is not null
                then 'erased'
                when lines.needs_contact and users.is_blocked
                then 'blocked'
                when lines.needs_contact and users.is_contact_deleted
                then 'contact_deleted'
                when lines.needs_contact and not coalesce(users.is_contact, false)
                then 'no_contact'
                when
                    lines.purpose = 'marketing'
                    and unsubscribed.unsubscribed_at is not null
                    and (said.changed_at is null or unsubscribed.unsubscribed_at >= said.changed_at)
                then 'unsubscribed'
                when not said.is_granted
                then 'consent_withdrawn'
                when said.is_granted is null and not lines.is_allowed_without_consent
                then 'no_consent'
                when members.is_holdout
                then 'holdout'
                when not lines.disturbs
                then null
                when lines.is_quiet
                then 'quiet_hours'
                when full_caps.cap is not null
                then 'cap'
                when {{ days_between("users.last_order_date", send_date) }} <= lines.cool_down_days
                then 'cool_down'
                when seen.user_id is not null
                then 'content_seen'
            end as rule,
            lines.quiet_hours,
            full_caps.cap as full_cap,
            users.last_order_date,
            seen.sent_date as seen_date
        from lines
        inner join members on lines.audience = members.audience
        left join users on members.user_id = users.user_id
        left join erased on members.user_id = erased.user_id
        left join
            said
            on lines.purpose = said.purpose
            and lines.channel = said.channel
            and members.user_id = said.user_id
        left join
            unsubscribed on lines.channel = unsubscribed.channel and members.user_id = unsubscribed.user_id
        left join
            full_caps
            on lines.purpose = full_caps.purpose
            and lines.channel = full_caps.channel
            and members.user_id = full_caps.user_id
        left join seen on lines.activation = seen.activation and members.user_id = seen.user_id
    ),

    -- Places of a user on a channel ('*': on all together) for a purpose, before this run.
    places as (
        select
            asking.user_id,
            asking.purpose,
            asking.channel,
            min(
                case when caps.purpose <> '*' then caps.max_sends - coalesce(used.used_count, 0) end
            ) as own_places,
            min(
                case when caps.purpose = '*' then caps.max_sends - coalesce(used.used_count, 0) end
            ) as shared_places
        from
            (
                select distinct user_id, purpose, channel
                from wishes
                where rule is null and disturbs
                union
                select distinct user_id, purpose, '*' as channel
                from wishes
                where rule is null and disturbs
            ) as asking
        inner join caps on asking.channel = caps.channel and caps.purpose in (asking.purpose, '*')
        left join used on asking.user_id = used.user_id and caps.cap = used.cap
        group by asking.user_id, asking.purpose, asking.channel
    ),

    standing as (
        select
            wishes.*,
            coalesce(of_channel.own_places, {{ unlimited }}) as channel_places,
            coalesce(of_channel.shared_places, {{ unlimited }}) as channel_shared_places,
            coalesce(of_all.own_places, {{ unlimited }}) as all_places,
            coalesce(of_all.shared_places, {{ unlimited }}) as all_shared_places
        from wishes
        left join
            places as of_channel
            on wishes.user_id = of_channel.user_id
            and wishes.purpose = of_channel.purpose
            and wishes.channel = of_channel.channel
        left join
            places as of_all
            on wishes.user_id = of_all.user_id
            and wishes.purpose = of_all.purpose
            and of_all.channel = '*'
        where wishes.rule is null and wishes.disturbs
    ),

    -- Service goes before marketing: what the user is owed before what the brand wants. Within a purpose the
    -- first of a channel by priority take the channel's places, and the first of those the places of all
    -- channels together: the same as giving places to one after the other.
    {% for purpose, compared in [("service", "="), ("marketing", "<>")] %}
        {{ purpose }}_ranked as (
            select
                standing.*,
                {% if purpose == "service" %} 0 as taken_count, 0 as taken_all_count,
                {% else %}
                    coalesce(taken.taken_count, 0) as taken_count,
                    coalesce(taken_all.taken_all_count, 0) as taken_all_count,
                {% endif %}
                row_number() over (
                    partition by standing.user_id, standing.channel
                    order by standing.priority asc nulls last, standing.activation asc nulls last
                ) as channel_rank
            from standing
            {% if purpose == "marketing" %}
                left join
                    (
                        select user_id, channel, count(*) as taken_count
                        from service_allowed
                        group by user_id, channel
                    ) as taken
                    on standing.user_id = taken.user_id
                    and standing.channel = taken.channel
                left join
                    (
                        select user_id, count(*) as taken_all_count from service_allowed group by user_id
                    ) as taken_all
                    on standing.user_id = taken_all.user_id
            {% endif %}
            where standing.purpose {{ compared }} 'service'
        ),

        {{ purpose }}_of_channels as (
            select
                *,
                row_number() over (
                    partition by user_id order by priority asc nulls last, activation asc nulls last
                ) as all_rank
            from {{ purpose }}_ranked
            where channel_rank <= channel_places and channel_rank <= channel_shared_places - taken_count
        ),

        {{ purpose }}_allowed as (
            select user_id, channel, purpose, priority, activation
            from {{ purpose }}_of_channels
            where all_rank <= all_places and all_rank <= all_shared_places - taken_all_count
        ),
    {% endfor %}

    allowed as (
        select *, 0 as purpose_rank
        from service_allowed
        union all
        select *, 1 as purpose_rank
        from marketing_allowed
    ),

    -- Who took the places: the first on the channel, else the first at all.
    winners as (
        select
            user_id,
            channel,
            activation,
            row_number() over (
                partition by user_id, channel
                order by purpose_rank asc nulls last, priority asc nulls last, activation asc nulls last
            ) as channel_rank,
            row_number() over (
                partition by user_id
                order by purpose_rank asc nulls last, priority asc nulls last, activation asc nulls last
            ) as all_rank
        from allowed
    ),

    decided as (
        select
            wishes.*,
            case
                when wishes.rule is null and wishes.disturbs and allowed.activation is null
                then 'priority'
                else wishes.rule
            end as final_rule
        from wishes
        left join allowed on wishes.activation = allowed.activation and wishes.user_id = allowed.user_id
    ),

    final as (
        select
            cast(decided.activation as {{ dbt.type_string() }}) as activation,
            cast(decided.user_id as {{ dbt.type_string() }}) as user_id,
            cast(decided.audience as {{ dbt.type_string() }}) as audience,
            cast(decided.destination as {{ dbt.type_string() }}) as destination,
            cast(decided.channel as {{ dbt.type_string() }}) as channel,
            cast(decided.purpose as {{ dbt.type_string() }}) as purpose,
            cast(decided.priority as integer) as priority,
            cast({{ as_of() }} as date) as as_of_date,
            cast({{ send_date }} as date) as send_date,
            cast(decided.final_rule is null as boolean) as is_allowed,
            cast(decided.final_rule as {{ dbt.type_string() }}) as rule,
            cast(
                case
                    decided.final_rule
                    when 'quiet_hours'
                    then decided.quiet_hours
                    when 'cap'
                    then decided.full_cap
                    when 'cool_down'
                    then cast(decided.last_order_date as {{ dbt.type_string() }})
                    when 'content_seen'
                    then cast(decided.seen_date as {{ dbt.type_string() }})
                end as {{ dbt.type_string() }}
            ) as detail,
            cast(
                case
                    when decided.final_rule = 'priority'
                    then coalesce(on_channel.activation, at_all.activation)
                end as {{ dbt.type_string() }}
            ) as beaten_by
        from decided
        left join
            winners as on_channel
            on decided.user_id = on_channel.user_id
            and decided.channel = on_channel.channel
            and on_channel.channel_rank = 1
        left join winners as at_all on decided.user_id = at_all.user_id and at_all.all_rank = 1
    )

select *
from final
