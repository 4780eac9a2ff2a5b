{{
    config(
        materialized="running",
        unique_key="owner_key",
        meta={"tombstones": true, "scratch": ["touched", "actors"]},
    )
}}

{%- set forward = is_forward() %}
{%- set in_window -%}
    activity_date > {{ add_days(as_of(), -90) }} and activity_date <= {{ as_of() }}
{%- endset %}

{%- set imports %}
with

    tracked as {{ inline() }} (select * from {{ ref("int_activity__tracked") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    owners as {{ inline() }} (select * from {{ ref("int_activity__owners") }}),

    rhythms as {{ inline() }} (select * from {{ ref("int_users__rhythms") }}),

    used_touchpoints as {{ inline() }} (select * from {{ ref("int_users__touchpoints") }}),
{% endset %}

{%- if forward %}
    {#- Only users are computed of whom a day was added to the window or has left it. -#}
    {%- set touched %}
        {{ imports }}

        changed_actors as (
            {% for part in ["tracked", "dealings"] %}
                select actor_key
                from {{ part }}
                where {{ is_added() }} and activity_date > {{ add_days(as_of(), -90) }}
                union
                select actor_key
                from {{ part }}
                where {{ is_removed() }}
                union
                select actor_key
                from {{ part }}
                where {{ is_expiring(90) }}
                {% if not loop.last %}
                    union
                {% endif %}
            {% endfor %}
            union
            select actor_key
            from tracked
            where {{ is_expiring(30) }} and session_key is not null
        )

        {{ touched_owners("changed_actors") }}
    {% endset %}
    {%- set touched = counted_rows("touched", touched) %}
    {%- set actors %}
        select owners.actor_key, owners.owner_key
        from {{ ref("int_activity__owners") }} as owners
        inner join ({{ touched }}) as touched on owners.owner_key = touched.owner_key
    {% endset %}
    {%- set actors = counted_rows("actors", actors) %}
{%- endif %}

{{ imports }}
{% if forward %} touched as ({{ touched }}), {% endif %}

actors as ({% if forward %}{{ actors }}{% else %}select * from owners where owner_key is not null{% endif %}),

-- Bit 0 is the first of the 90 days that end on as_of: on a later day the bits of the days that have
-- left the window are shifted out on reading.
owner_rhythms as (
    select
        actors.owner_key,
        {{
            merge_day_bits(
                shift_day_bits("rhythms.active_days_bits", days_between("rhythms.computed_on", as_of()))
            )
        }} as active_days_bits
        {%- for unit, number in rhythm_units() %}
            , sum(rhythms.{{ unit }}_{{ number }}) as {{ unit }}_{{ number }}
        {%- endfor %}
    from rhythms
    inner join actors on rhythms.actor_key = actors.actor_key
    group by actors.owner_key
),

-- The first of the fullest.
day_values as (
    select
        owner_key,
        active_days_bits
        {%- for unit in ["hour", "weekday"] %}
            ,
            {%- set columns = [] %}
            {%- for other, number in rhythm_units() if other == unit %}
                {%- do columns.append((unit ~ "_" ~ number, number)) %}
            {%- endfor %}
            case
                greatest({{ columns | map("first") | join(", ") }})
                {%- for column, number in columns %} when {{ column }} then {{ number }} {%- endfor %}
            end as usual_{{ unit }}
        {%- endfor %}
    from owner_rhythms
),

touchpoints as (
    select
        actors.owner_key,
        used_touchpoints.touchpoint,
        row_number() over (
            partition by actors.owner_key
            order by
                sum(used_touchpoints.activities_count) desc nulls last,
                max(used_touchpoints.last_date) desc nulls last,
                used_touchpoints.touchpoint asc nulls last
        ) as touchpoint_rank
    from used_touchpoints
    inner join actors on used_touchpoints.actor_key = actors.actor_key
    group by actors.owner_key, used_touchpoints.touchpoint
),

top_touchpoints as (select owner_key, touchpoint from touchpoints where touchpoint_rank = 1),

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
    group by actors.owner_key, facts.session_key
),

session_values as (select owner_key, count(*) as sessions_count_30d from sessions group by owner_key),

known as (
    select owner_key
    from day_values
    union
    select owner_key
    from session_values
),

computed as (
    select
        known.owner_key,
        {{ as_of() }} as computed_on,
        day_values.active_days_bits,
        coalesce(session_values.sessions_count_30d, 0) as sessions_count_30d,
        top_touchpoints.touchpoint as top_touchpoint_90d,
        day_values.usual_hour,
        day_values.usual_weekday
    from known
    left join day_values on known.owner_key = day_values.owner_key
    left join session_values on known.owner_key = session_values.owner_key
    left join top_touchpoints on known.owner_key = top_touchpoints.owner_key
),

final as ({{ touched_rows("computed", forward) }})

select *
from final
