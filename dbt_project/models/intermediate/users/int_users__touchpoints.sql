{{
    config(
        materialized="running",
        unique_key="touchpoint_key",
        meta={"tombstones": true, "scratch": ["changes", "recounted"]},
    )
}}

{%- set forward = is_forward() %}
{%- set in_window -%}
    activity_date > {{ add_days(as_of(), -90) }} and activity_date <= {{ as_of() }} and touchpoint is not null
{%- endset %}
{%- set columns = ["actor_key", "activity", "touchpoint", "activity_date"] %}
{%- set key = row_hash(["actor_key", "touchpoint"]) %}

{%- set imports %}
with

    tracked as {{ inline() }} (select * from {{ ref("int_activity__tracked") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),
{% endset %}

{%- if forward %}
    {%- set changes %}
        {{ imports }}

        moves as ({{ window_moves(columns, "touchpoint is not null") }})

            select
                {{ key }} as touchpoint_key,
                moves.actor_key,
                moves.touchpoint,
                sum(moves.step) as activities_count,
                max(case when moves.step > 0 then moves.activity_date end) as last_date,
                bool_or(moves.is_removed) as is_recounted
            from moves
            left join passive_activities on moves.activity = passive_activities.activity
            where passive_activities.activity is null
            group by moves.actor_key, moves.touchpoint

    {% endset %}
    {%- set changes = counted_rows("changes", changes) %}
    {%- set recounted = (
        "select touchpoint_key, actor_key, touchpoint from ("
        ~ changes
        ~ ") as changes where is_recounted"
    ) %}
    {%- set recounted = counted_rows("recounted", recounted) %}
{%- endif %}

{{ imports }}
{% if forward %} changes as ({{ changes }}), recounted_keys as ({{ recounted }}), {% endif %}

counted as (
    select
        facts.actor_key, facts.touchpoint, count(*) as activities_count, max(facts.activity_date) as last_date
    from ({{ standing_facts(columns, in_window) }}) as facts
    {% if forward %}
        inner join
            recounted_keys
            on facts.actor_key = recounted_keys.actor_key
            and facts.touchpoint = recounted_keys.touchpoint
    {% endif %}
    left join passive_activities on facts.activity = passive_activities.activity
    where passive_activities.activity is null
    group by facts.actor_key, facts.touchpoint
),

final as (
    {% if forward %}
        -- What leaves the window is the oldest: the last day stays as long as any activity does.
        select
            changes.touchpoint_key,
            changes.actor_key,
            changes.touchpoint,
            cast(coalesce(held.activities_count, 0) + changes.activities_count as bigint) as activities_count,
            greatest(held.last_date, changes.last_date) as last_date,
            coalesce(held.activities_count, 0) + changes.activities_count = 0 as is_gone
        from changes
        left join {{ this }} as held on changes.touchpoint_key = held.touchpoint_key
        where not changes.is_recounted
        union all
        select
            recounted_keys.touchpoint_key,
            recounted_keys.actor_key,
            recounted_keys.touchpoint,
            counted.activities_count,
            counted.last_date,
            counted.actor_key is null as is_gone
        from recounted_keys
        left join
            counted
            on recounted_keys.actor_key = counted.actor_key
            and recounted_keys.touchpoint = counted.touchpoint
    {% else %}select {{ key }} as touchpoint_key, * from counted
    {% endif %}
)

select *
from final
