{{
    config(
        materialized="running",
        unique_key="tally_key",
        meta={"tombstones": true},
    )
}}

{%- set counts = ["total_count", "count_7d", "count_30d", "count_90d"] %}
{%- set key = ["actor_key", "activity", "channel"] %}
{%- set tallied -%}
    min(occurred_at) as first_at,
    max(occurred_at) as last_at,
    max(activity_date) as last_date,
    count(*) as total_count,
    count(*) filter (where activity_date > {{ add_days(as_of(), -7) }}) as count_7d,
    count(*) filter (where activity_date > {{ add_days(as_of(), -30) }}) as count_30d,
    count(*) filter (where activity_date > {{ add_days(as_of(), -90) }}) as count_90d
{%- endset %}

with

    tracked as {{ inline() }} (select * from {{ ref("int_activity__tracked") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),
    {% if not is_forward() %}

        facts as ({{ standing_facts(["actor_key", "activity", "channel", "occurred_at", "activity_date"]) }}),

        final as (
            select
                {{ row_hash(key) }} as tally_key,
                actor_key,
                activity,
                channel,
                {{ tallied }},
                {{ as_of() }} as changed_on
            from facts
            group by actor_key, activity, channel
        )
    {% else %}

        moves as ({{ tally_moves(key) }}),

        changes as (
            select
                {{ row_hash(key) }} as tally_key,
                actor_key,
                activity,
                channel,
                min(occurred_at) as first_at,
                max(occurred_at) as last_at,
                max(activity_date) as last_date,
                {% for count in counts %} sum({{ count }}) as {{ count }},
                {% endfor %}
                bool_or(is_removed) as is_recounted
            from moves
            group by actor_key, activity, channel
        ),

        -- What was taken back cannot be subtracted from a first or last moment.
        recounted_keys as (select tally_key, actor_key, activity, channel from changes where is_recounted),

        facts as ({{ standing_facts(["actor_key", "activity", "channel", "occurred_at", "activity_date"]) }}),

        recounted as (
            select facts.actor_key, facts.activity, facts.channel, {{ tallied }}
            from facts
            inner join
                recounted_keys
                on recounted_keys.actor_key = facts.actor_key
                and recounted_keys.activity = facts.activity
                and recounted_keys.channel is not distinct from facts.channel
            group by facts.actor_key, facts.activity, facts.channel
        ),

        final as (
            select
                changes.tally_key,
                changes.actor_key,
                changes.activity,
                changes.channel,
                least(held.first_at, changes.first_at) as first_at,
                greatest(held.last_at, changes.last_at) as last_at,
                greatest(held.last_date, changes.last_date) as last_date,
                {% for count in counts %}
                    cast(coalesce(held.{{ count }}, 0) + changes.{{ count }} as bigint) as {{ count }},
                {% endfor %}
                {{ as_of() }} as changed_on,
                false as is_gone
            from changes
            left join {{ this }} as held on held.tally_key = changes.tally_key
            where not changes.is_recounted
            union all
            select
                keys.tally_key,
                keys.actor_key,
                keys.activity,
                keys.channel,
                recounted.first_at,
                recounted.last_at,
                recounted.last_date,
                {% for count in counts %} recounted.{{ count }},
                {% endfor %}
                {{ as_of() }} as changed_on,
                recounted.actor_key is null as is_gone
            from recounted_keys as keys
            left join
                recounted
                on recounted.actor_key = keys.actor_key
                and recounted.activity = keys.activity
                and recounted.channel is not distinct from keys.channel
        )
    {% endif %}

select *
from final
