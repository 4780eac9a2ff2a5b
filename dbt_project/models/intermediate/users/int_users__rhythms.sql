{{
    config(
        materialized="running",
        unique_key="actor_key",
        meta={"tombstones": true, "scratch": ["moves", "recounted"]},
    )
}}

{%- set forward = is_forward() %}
{%- set in_window -%}
    activity_date > {{ add_days(as_of(), -90) }} and activity_date <= {{ as_of() }}
{%- endset %}
{%- set columns = ["actor_key", "activity", "occurred_at", "activity_date"] %}

{%- set imports %}
with

    tracked as {{ inline() }} (select * from {{ ref("int_activity__tracked") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),
{% endset %}

{%- if forward %}
    {#- What came into the window is added and what has left it is subtracted. -#}
    {%- set moves %}
        {{ imports }}

        moves as ({{ window_moves(columns) }})

        select * from moves
    {% endset %}
    {%- set moves = counted_rows("moves", moves) %}
    {%- set recounted = counted_rows(
        "recounted", "select distinct actor_key from (" ~ moves ~ ") as moves where is_removed"
    ) %}
{%- endif %}

{{ imports }}
{% if forward %}

    moves as ({{ moves }}),

    recounted_actors as ({{ recounted }}),

    facts as (
        select moves.*
        from moves
        left join recounted_actors on moves.actor_key = recounted_actors.actor_key
        where recounted_actors.actor_key is null
        union all
        -- What was taken back cannot be subtracted from the days: of these actors all is counted again.
        select standing.*, 1 as step, false as is_removed
        from ({{ standing_facts(columns, in_window) }}) as standing
        inner join recounted_actors on standing.actor_key = recounted_actors.actor_key
    ),
{% else %} facts as ({{ standing_facts(columns, in_window) }}),
{% endif %}

-- The time zone is looked up for each quarter of an hour, not for each activity.
quarter_hours as (
    select
        {{ quarter_hour("occurred_at") }} as quarter_hour,
        {{ business_hour("min(occurred_at)") }} as activity_hour
    from facts
    group by 1
),

own as (
    select
        facts.actor_key,
        facts.activity_date,
        quarter_hours.activity_hour,
        {% if forward %} facts.step, {% endif %}
        {{ iso_weekday("facts.activity_date") }} as activity_weekday
    from facts
    inner join quarter_hours on {{ quarter_hour("facts.occurred_at") }} = quarter_hours.quarter_hour
    left join passive_activities on facts.activity = passive_activities.activity
    where passive_activities.activity is null
),

counted as (
    select
        actor_key,
        {{
            day_bits(
                "case when step > 0 then activity_date end" if forward else "activity_date",
                add_days(as_of(), -89),
            )
        }} as active_days_bits
        {%- for unit, number in rhythm_units() %}
            ,
            {%- if forward %} coalesce(sum(step) filter (where activity_{{ unit }} = {{ number }}), 0)
            {%- else %} count(*) filter (where activity_{{ unit }} = {{ number }})
            {%- endif %} as {{ unit }}_{{ number }}
        {%- endfor %}
    from own
    group by actor_key
),
{% if forward %}

    -- The bits held begin at an older day: those of the days that have left the window are shifted out.
    moved as (
        select
            counted.actor_key,
            {{
                join_day_bits(
                    shift_day_bits("held.active_days_bits", days_between("held.computed_on", as_of())),
                    "counted.active_days_bits",
                )
            }} as active_days_bits
            {%- for unit, number in rhythm_units() %}
                ,
                coalesce(held.{{ unit }}_{{ number }}, 0)
                + counted.{{ unit }}_{{ number }} as {{ unit }}_{{ number }}
            {%- endfor %},
            false as is_gone
        from counted
        left join recounted_actors on counted.actor_key = recounted_actors.actor_key
        left join {{ this }} as held on counted.actor_key = held.actor_key
        where recounted_actors.actor_key is null
        union all
        select
            recounted_actors.actor_key,
            counted.active_days_bits
            {%- for unit, number in rhythm_units() %}, counted.{{ unit }}_{{ number }} {%- endfor %},
            counted.actor_key is null as is_gone
        from recounted_actors
        left join counted on recounted_actors.actor_key = counted.actor_key
    ),
{% endif %}

final as (
    select
        actor_key,
        {{ as_of() }} as computed_on,
        active_days_bits
        {%- for unit, number in rhythm_units() %}
            , cast({{ unit }}_{{ number }} as integer) as {{ unit }}_{{ number }}
        {%- endfor %}
        {%- if forward %}
            ,
            is_gone or 0
            {%- for unit, number in rhythm_units() if unit == "weekday" %}
                + {{ unit }}_{{ number }}
            {%- endfor %}
            = 0 as is_gone
        {%- endif %}
    from {{ "moved" if forward else "counted" }}
)

select *
from final
