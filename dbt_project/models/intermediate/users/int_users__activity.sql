{{
    config(
        materialized="running",
        unique_key="owner_key",
        meta={"tombstones": true, "scratch": ["touched", "actors"]},
    )
}}

{%- set forward = is_forward() %}
{%- set windows = {
    "views": ("view", [7, 30, 90]),
    "searches": ("search", [7, 30, 90]),
    "carts": ("cart", [7, 30]),
    "favourites": ("favourite", [30, 90]),
    "shares": ("share", [30, 90]),
    "reads": ("read", [30]),
    "votes": ("vote", [90]),
    "comments": ("comment", [90]),
    "likes": ("like", [90]),
    "lives": ("live_enter", [30, 90]),
    "touches_sent": ("touch_sent", [7, 30, 90]),
    "touches_delivered": ("touch_delivered", [7, 30, 90]),
    "touches_opened": ("touch_opened", [7, 30, 90]),
    "touches_clicked": ("touch_clicked", [7, 30, 90]),
    "touches_replied": ("touch_replied", [7, 30, 90]),
    "touches_unsubscribed": ("touch_unsubscribed", [7, 30, 90]),
} %}
{%- set numbers = {} %}
{%- for name, (activity, days) in windows.items() %}
    {%- do numbers.update({activity: loop.index}) %}
{%- endfor %}

{%- set in_window -%}
    activity_date > {{ add_days(as_of(), -90) }} and activity_date <= {{ as_of() }}
{%- endset %}

{%- set moments = [
    "last_active_date",
    "last_cart_at",
    "last_cart_date",
    "last_paid_at",
    "last_touch_sent_date",
] %}

{%- set imports %}
with

    kinds as (select * from {{ ref("int_activity__kinds") }}),

    tracked as {{ inline() }} (select * from {{ ref("int_activity__stream") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    owners as {{ inline() }} (
        select * from {{ ref("int_activity__owners") }} where owner_key is not null
    ),

    moves as {{ inline() }} (select * from {{ ref("int_activity__moves") }}),

    last_moments as {{ inline() }} (select * from {{ ref("int_activity__last_moments") }}),

    used_touchpoints as {{ inline() }} (select * from {{ ref("int_users__touchpoints") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),

    -- Numbers for the activities that have columns: comparing texts would be most of the work.
    activity_numbers as (
        select activity, activity_number
        from
            (
                values
                    {% for name, (activity, days) in windows.items() %}
                        ('{{ activity }}', {{ loop.index }}) {%- if not loop.last %},{% endif %}
                    {% endfor %}
            ) as numbered(activity, activity_number)
    ),

    numbered_kinds as (
        select
            kinds.kind_key,
            kinds.activity,
            activity_numbers.activity_number,
            passive_activities.activity is null as is_own
        from kinds
        left join passive_activities on kinds.activity = passive_activities.activity
        left join activity_numbers on kinds.activity = activity_numbers.activity
    ),

    answer_kinds as (
        select kind_key, activity
        from numbered_kinds
        where activity in ('touch_delivered', 'touch_opened', 'touch_clicked')
    ),
{% endset %}

{%- if forward %}
    {#- Last moments, sessions and messages are not sums: of whom they move, they are told again. -#}
    {%- set touched %}
        {{ imports }}

        touched as (
            select
                moves.owner_key,
                bool_or(moves.is_recounted) as is_recounted,
                bool_or(moves.is_new) as has_news,
                -- Nobody's for those who are counted again: nothing that is held is added to.
                case when not bool_or(moves.is_recounted) then moves.owner_key end as held_key,
                bool_or(moves.is_recounted or (moves.has_session and moves.count_30d <> 0)) as has_sessions,
                bool_or(
                    moves.is_recounted or (answer_kinds.kind_key is not null and moves.count_90d <> 0)
                ) as has_messages
            from moves
            left join answer_kinds on moves.kind_key = answer_kinds.kind_key
            group by moves.owner_key
        )

        select *
        from touched
    {% endset %}
    {%- set touched = counted_rows("touched", touched) %}
    {%- set actors %}
        select owners.actor_key, owners.owner_key, touched.has_news, touched.has_sessions, touched.has_messages
        from {{ ref("int_activity__owners") }} as owners
        inner join ({{ touched }}) as touched on owners.owner_key = touched.owner_key
        where touched.has_news or touched.has_sessions or touched.has_messages
    {% endset %}
    {%- set actors = counted_rows("actors", actors) %}
{%- endif %}

{{ imports }}

{% if forward %}
    touched as ({{ touched }}),

    actors as ({{ actors }}),

    facts as (select * from moves where kind_key is not null),

    window_facts as (select *, count_90d as moved from facts where count_90d <> 0),
{% else %}
    actors as (
        select actor_key, owner_key, true as has_news, true as has_sessions, true as has_messages from owners
    ),

    facts as {{ inline() }} (
        select
            owners.owner_key,
            standing.kind_key,
            standing.occurred_at,
            standing.activity_date
            {%- for day in [7, 30, 90] %}
                ,
                case
                    when standing.activity_date > {{ add_days(as_of(), -day) }} then 1 else 0
                end as count_{{ day }}d
            {%- endfor %}
        from
            (
                {{ standing_facts(["actor_key", "kind_key", "occurred_at", "activity_date"], in_window) }}
            ) as standing
        inner join owners on standing.actor_key = owners.actor_key
    ),

    window_facts as {{ inline() }} (select *, 1 as moved from facts),
{% endif %}

-- Of all identifiers of a user.
latest as (
    select
        actors.owner_key,
        {% for moment in moments %} max(last_moments.{{ moment }}) as {{ moment }}, {% endfor %}
        sum(last_moments.touches_count) > 0 as has_touches
    from last_moments
    inner join actors on last_moments.actor_key = actors.actor_key
    where actors.has_news
    group by actors.owner_key
),

activities as (
    select
        facts.owner_key,
        numbered_kinds.activity_number,
        numbered_kinds.is_own
        {%- for day in [7, 30, 90] %}
            , cast(sum(facts.count_{{ day }}d) as integer) as count_{{ day }}d
        {%- endfor %}
    from facts
    inner join numbered_kinds on facts.kind_key = numbered_kinds.kind_key
    group by facts.owner_key, numbered_kinds.activity_number, numbered_kinds.is_own
),

-- One row per user and number before: the greatest of small integers is that one, and takes far less
-- room than a sum for each of so many columns.
counted as (
    select
        owner_key,
        {%- for name, (activity, days) in windows.items() %}
            {%- for day in days %}
                max(
                    case when activity_number = {{ numbers[activity] }} then count_{{ day }}d end
                ) as {{ name }}_count_{{ day }}d,
            {%- endfor %}
        {%- endfor %}
        sum(case when is_own then count_30d end) as events_count_30d,
        sum(case when is_own then count_90d end) as events_count_90d
    from activities
    group by owner_key
),

-- The time zone is looked up for each quarter of an hour, not for each activity.
quarter_hours as (
    select
        {{ quarter_hour("occurred_at") }} as quarter_hour,
        {{ business_hour("min(occurred_at)") }} as activity_hour
    from window_facts
    group by 1
),

own as (
    select
        facts.owner_key,
        facts.activity_date,
        facts.moved,
        quarter_hours.activity_hour,
        {{ iso_weekday("facts.activity_date") }} as activity_weekday
    from window_facts as facts
    inner join numbered_kinds on facts.kind_key = numbered_kinds.kind_key
    inner join quarter_hours on {{ quarter_hour("facts.occurred_at") }} = quarter_hours.quarter_hour
    where numbered_kinds.is_own
),

rhythms as (
    select
        owner_key,
        {{ day_bits("case when moved > 0 then activity_date end", add_days(as_of(), -89)) }}
        as active_days_bits
        {%- for unit, number in rhythm_units() %}
            , sum(moved) filter (where activity_{{ unit }} = {{ number }}) as {{ unit }}_{{ number }}
        {%- endfor %}
    from own
    group by owner_key
),

sessions as (
    select actors.owner_key, facts.session_key
    from
        (
            select actor_key, session_key
            from tracked
            where
                removed_on is null
                and session_key is not null
                and activity_date > {{ add_days(as_of(), -30) }}
                and activity_date <= {{ as_of() }}
        ) as facts
    inner join actors on facts.actor_key = actors.actor_key
    where actors.has_sessions
    group by actors.owner_key, facts.session_key
),

session_values as (select owner_key, count(*) as sessions_count_30d from sessions group by owner_key),

messages as (
    select
        actors.owner_key,
        facts.touch_id
        {%- for status in ["delivered", "opened", "clicked"] %}
            , bool_or(answer_kinds.activity = 'touch_{{ status }}') as is_{{ status }}
        {%- endfor %}
    from
        (
            select actor_key, kind_key, touch_id
            from tracked
            where removed_on is null and touch_id is not null and {{ in_window }}
        ) as facts
    inner join answer_kinds on facts.kind_key = answer_kinds.kind_key
    inner join actors on facts.actor_key = actors.actor_key
    where actors.has_messages
    group by actors.owner_key, facts.touch_id
),

-- Rates follow the messages delivered in the window, so none is above 1.
message_values as (
    select
        owner_key,
        count(*) as messages_delivered_count,
        count(*) filter (where is_opened) as messages_opened_count,
        count(*) filter (where is_clicked) as messages_clicked_count
    from messages
    where is_delivered
    group by owner_key
),

touchpoints as (
    select
        used_touchpoints.owner_key,
        used_touchpoints.touchpoint,
        row_number() over (
            partition by used_touchpoints.owner_key
            order by
                used_touchpoints.activities_count desc nulls last,
                used_touchpoints.last_date desc nulls last,
                used_touchpoints.touchpoint asc nulls last
        ) as touchpoint_rank
    from used_touchpoints
    {% if forward %} inner join touched on used_touchpoints.owner_key = touched.owner_key {% endif %}
),

top_touchpoints as (select owner_key, touchpoint from touchpoints where touchpoint_rank = 1),

users as (select {{ row_hash(["user_id"]) }} as owner_key, user_id from {{ ref("int_identity__users") }}),

{%- set sums = [] %}
{%- for name, (activity, days) in windows.items() %}
    {%- for day in days %} {%- do sums.append(name ~ "_count_" ~ day ~ "d") %} {%- endfor %}
{%- endfor %}
{%- for day in [30, 90] %} {%- do sums.append("events_count_" ~ day ~ "d") %} {%- endfor %}


summed as (
    select
        {% if forward %} touched.owner_key,
        {% else %} latest.owner_key,
        {% endif %}
        users.user_id,
        {%- for column in moments + ["has_touches"] %}
            {% if forward %}
                case
                    when touched.has_news then latest.{{ column }} else held.{{ column }}
                end as {{ column }},
            {% else %} latest.{{ column }},
            {% endif %}
        {%- endfor %}
        {%- for column in sums %}
            cast(
                {% if forward %}coalesce(held.{{ column }}, 0) + {% endif %}
                coalesce(counted.{{ column }}, 0) as integer
            ) as {{ column }},
        {%- endfor %}
        {{ as_of() }} as computed_on,
        -- Bit 0 is the first of the 90 days that end on as_of: on a later day the bits of the days that have
        -- left the window are shifted out on reading.
        {% if forward %}
            {{
                join_day_bits(
                    shift_day_bits("held.active_days_bits", days_between("held.computed_on", as_of())),
                    "rhythms.active_days_bits",
                )
            }}
        {% else %} coalesce(rhythms.active_days_bits, 0)
        {% endif %} as active_days_bits,
        {%- for unit, number in rhythm_units() %}
            cast(
                {% if forward %}coalesce(held.{{ unit }}_{{ number }}, 0) + {% endif %}
                coalesce(rhythms.{{ unit }}_{{ number }}, 0) as integer
            ) as {{ unit }}_{{ number }},
        {%- endfor %}
        {% if forward %}
            case
                when touched.has_sessions
                then coalesce(session_values.sessions_count_30d, 0)
                else coalesce(held.sessions_count_30d, 0)
            end
        {% else %} coalesce(session_values.sessions_count_30d, 0)
        {% endif %} as sessions_count_30d,
        top_touchpoints.touchpoint as top_touchpoint_90d,
        {%- for column in ["delivered", "opened", "clicked"] %}
            {%- set column = "messages_" ~ column ~ "_count" %}
            {% if forward %}
                case
                    when touched.has_messages
                    then coalesce(message_values.{{ column }}, 0)
                    else coalesce(held.{{ column }}, 0)
                end
            {% else %} coalesce(message_values.{{ column }}, 0)
            {% endif %} as {{ column }},
        {%- endfor %}
        {% if forward %} touched.is_recounted and latest.owner_key is null
        {% else %} false
        {% endif %} as is_gone
    {% if forward %}
        from touched
        left join latest on touched.owner_key = latest.owner_key
        left join {{ this }} as held on touched.held_key = held.owner_key
        left join users on touched.owner_key = users.owner_key
        left join counted on touched.owner_key = counted.owner_key
        left join rhythms on touched.owner_key = rhythms.owner_key
        left join session_values on touched.owner_key = session_values.owner_key
        left join message_values on touched.owner_key = message_values.owner_key
        left join top_touchpoints on touched.owner_key = top_touchpoints.owner_key
    {% else %}
        from latest
        inner join users on latest.owner_key = users.owner_key
        left join counted on latest.owner_key = counted.owner_key
        left join rhythms on latest.owner_key = rhythms.owner_key
        left join session_values on latest.owner_key = session_values.owner_key
        left join message_values on latest.owner_key = message_values.owner_key
        left join top_touchpoints on latest.owner_key = top_touchpoints.owner_key
    {% endif %}
),

-- The first of the fullest.
final as (
    select
        owner_key,
        user_id,
        {% for column in moments %} {{ column }}, {% endfor %}
        has_touches,
        {% for column in sums %} {{ column }}, {% endfor %}
        computed_on,
        active_days_bits,
        {% for unit, number in rhythm_units() %} {{ unit }}_{{ number }}, {% endfor %}
        sessions_count_30d,
        top_touchpoint_90d,
        {%- for unit in ["hour", "weekday"] %}
            {%- set columns = [] %}
            {%- for other, number in rhythm_units() if other == unit %}
                {%- do columns.append((unit ~ "_" ~ number, number)) %}
            {%- endfor %}
            case
                greatest({{ columns | map("first") | join(", ") }})
                when 0
                then null
                {%- for column, number in columns %} when {{ column }} then {{ number }} {%- endfor %}
            end as usual_{{ unit }},
        {%- endfor %}
        messages_delivered_count,
        messages_opened_count,
        messages_clicked_count
        {%- if forward %}, is_gone {%- endif %}
    from summed
)

select *
from final
