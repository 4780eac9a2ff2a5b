{{
    config(
        materialized="running",
        unique_key="owner_key",
        meta={"tombstones": true, "scratch": ["recounted", "actors"]},
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

{%- set imports %}
with

    kinds as (select * from {{ ref("int_activity__kinds") }}),

    tracked as {{ inline() }} (select * from {{ ref("int_activity__stream") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    owners as {{ inline() }} (select * from {{ ref("int_activity__owners") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),
{% endset %}

{%- if forward %}
    {#- What was taken back, or has gone to another user, cannot be subtracted from a last moment: all of them is counted again. -#}
    {%- set recounted %}
        {{ imports }}

        removed_actors as (
            select actor_key
            from tracked
            where {{ is_removed() }}
            union
            select actor_key
            from dealings
            where {{ is_removed() }}
        )

        {{ touched_owners("removed_actors") }}
    {% endset %}
    {%- set recounted = counted_rows("recounted", recounted) %}
    {%- set actors %}
        select owners.actor_key, owners.owner_key
        from {{ ref("int_activity__owners") }} as owners
        inner join ({{ recounted }}) as recounted on owners.owner_key = recounted.owner_key
    {% endset %}
    {%- set actors = counted_rows("actors", actors) %}
{%- endif %}

{{ imports }}
{% if forward %}

    recounted as ({{ recounted }}), moves as ({{ count_moves(["actor_key", "kind_key"]) }}),
{% endif %}

actors as ({% if forward %}{{ actors }}{% else %}select * from owners where owner_key is not null{% endif %}),

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
        activity_numbers.activity_number,
        passive_activities.activity is null as is_own,
        kinds.activity like 'touch_%' as is_touch,
        kinds.activity = 'order_paid' as is_paid
    from kinds
    left join passive_activities on kinds.activity = passive_activities.activity
    left join activity_numbers on kinds.activity = activity_numbers.activity
),

-- Of what was done earlier than 90 days ago only the last moments count, so that most of history is
-- grouped by user alone.
facts as {% if forward %} {{ computed_once() }}
{% else %} {{ inline() }}
{% endif %} (
    select
        actors.owner_key,
        standing.kind_key,
        standing.occurred_at,
        standing.activity_date
        {%- for day in [7, 30, 90] %}
            ,
            case
                when standing.activity_date > {{ add_days(as_of(), -day) }} then 1 else 0
            end as count_{{ day }}d
        {%- endfor %}
    from ({{ standing_facts(["actor_key", "kind_key", "occurred_at", "activity_date"]) }}) as standing
    inner join actors on standing.actor_key = actors.actor_key
    {% if forward %}
        union all
        select
            owners.owner_key,
            moves.kind_key,
            moves.occurred_at,
            moves.activity_date,
            moves.count_7d,
            moves.count_30d,
            moves.count_90d
        from moves
        inner join owners on moves.actor_key = owners.actor_key
        left join recounted on owners.owner_key = recounted.owner_key
        where owners.owner_key is not null and recounted.owner_key is null
    {% endif %}
),

latest as (
    select
        facts.owner_key,
        max(case when numbered_kinds.is_own then facts.activity_date end) as last_active_date,
        max(
            case when numbered_kinds.activity_number = {{ numbers["cart"] }} then facts.occurred_at end
        ) as last_cart_at,
        max(
            case when numbered_kinds.activity_number = {{ numbers["cart"] }} then facts.activity_date end
        ) as last_cart_date,
        max(case when numbered_kinds.is_paid then facts.occurred_at end) as last_paid_at,
        bool_or(numbered_kinds.is_touch) as has_touches,
        max(
            case
                when numbered_kinds.activity_number = {{ numbers["touch_sent"] }} then facts.activity_date
            end
        ) as last_touch_sent_date
    from facts
    inner join numbered_kinds on facts.kind_key = numbered_kinds.kind_key
    group by facts.owner_key
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
    {% if not forward %} where facts.activity_date > {{ add_days(as_of(), -90) }} {% endif %}
    group by facts.owner_key, numbered_kinds.activity_number, numbered_kinds.is_own
),

-- One row per user and number before: the greatest of small integers is that one, and takes far less
-- room than
-- a sum for each of so many columns.
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

pivoted as (
    select
        latest.*
        {%- for name, (activity, days) in windows.items() %}
            {%- for day in days %}
                ,
                cast(
                    coalesce(counted.{{ name }}_count_{{ day }}d, 0) as bigint
                ) as {{ name }}_count_{{ day }}d
            {%- endfor %}
        {%- endfor %}
        {%- for day in [30, 90] %}
            , cast(coalesce(counted.events_count_{{ day }}d, 0) as bigint) as events_count_{{ day }}d
        {%- endfor %}
    from latest
    left join counted on latest.owner_key = counted.owner_key
),

{%- if forward %}

    changed as (
        select pivoted.*, recounted.owner_key is not null as is_recounted
        from pivoted
        left join recounted on pivoted.owner_key = recounted.owner_key
    ),

    final as (
        select
            changed.owner_key,
            {%- for column in adapter.get_columns_in_relation(this) if column.name != "owner_key" %}
                {%- set name = column.name %}
                {%- if name.startswith("last_") %} greatest(held.{{ name }}, changed.{{ name }})
                {%- elif name == "has_touches" %} coalesce(held.{{ name }}, false) or changed.{{ name }}
                {%- else %} coalesce(held.{{ name }}, 0) + changed.{{ name }}
                {%- endif %} as {{ name }},
            {%- endfor %}
            false as is_gone
        from (select * from changed where not is_recounted) as changed
        left join {{ this }} as held on changed.owner_key = held.owner_key
        union all
        select
            recounted.owner_key,
            {%- for column in adapter.get_columns_in_relation(this) if column.name != "owner_key" %}
                counted.{{ column.name }},
            {%- endfor %}
            counted.owner_key is null as is_gone
        from recounted
        left join
            (select * from changed where is_recounted) as counted on recounted.owner_key = counted.owner_key
    )
{%- else %} final as (select * from pivoted)
{%- endif %}

select *
from final
