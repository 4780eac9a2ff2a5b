{{
    config(
        materialized="running",
        unique_key="tally_key",
        meta={"tombstones": true, "scratch": ["changes", "moved"]},
    )
}}

{%- set counts = ["total_count", "count_7d", "count_30d", "count_90d"] %}
{%- set key = ["actor_key", "kind_key"] %}
{%- set tallied -%}
    min(occurred_at) as first_at,
    max(occurred_at) as last_at,
    max(activity_date) as last_date,
    count(*) as total_count,
    count(*) filter (where activity_date > {{ add_days(as_of(), -7) }}) as count_7d,
    count(*) filter (where activity_date > {{ add_days(as_of(), -30) }}) as count_30d,
    count(*) filter (where activity_date > {{ add_days(as_of(), -90) }}) as count_90d
{%- endset %}

{%- set imports %}
with

    tracked as {{ inline() }} (select * from {{ ref("int_activity__stream") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),
{% endset %}

{%- if is_forward() %}
    {%- set changes %}
        {{ imports }}

        moves as ({{ tally_moves(key) }})

        select
            {{ row_hash(key) }} as tally_key,
            actor_key,
            kind_key,
            min(case when not is_removed then occurred_at end) as first_at,
            max(case when not is_removed then occurred_at end) as last_at,
            max(case when not is_removed then activity_date end) as last_date,
            min(case when is_removed then occurred_at end) as removed_first_at,
            max(case when is_removed then occurred_at end) as removed_last_at,
            max(case when is_removed then activity_date end) as removed_last_date
            {%- for count in counts %}, sum({{ count }}) as {{ count }} {%- endfor %}
        from moves
        group by actor_key, kind_key
    {% endset %}
    {%- set changes = counted_rows("changes", changes) %}

    {#- A first or last moment that was taken back cannot be subtracted: unless one as early or as late is held or added, all of the key is counted again. -#}
    {%- set moved %}
        select
            changes.tally_key,
            changes.actor_key,
            changes.kind_key,
            least(held.first_at, changes.first_at) as first_at,
            greatest(held.last_at, changes.last_at) as last_at,
            greatest(held.last_date, changes.last_date) as last_date,
            {% for count in counts %}
                cast(coalesce(held.{{ count }}, 0) + changes.{{ count }} as bigint) as {{ count }},
            {% endfor %}
            changes.removed_first_at is not null
            and not (
                coalesce(
                    held.first_at < changes.removed_first_at or changes.first_at <= changes.removed_first_at, false
                )
                and coalesce(
                    held.last_at > changes.removed_last_at or changes.last_at >= changes.removed_last_at, false
                )
                and coalesce(
                    held.last_date > changes.removed_last_date or changes.last_date >= changes.removed_last_date,
                    false
                )
            ) as is_recounted
        from ({{ changes }}) as changes
        left join {{ this }} as held on changes.tally_key = held.tally_key
    {% endset %}
    {%- set moved = counted_rows("moved", moved) %}
    {%- set recounted_keys = moved ~ " where is_recounted and total_count > 0" %}
{%- endif %}

{{ imports }}
{% if not is_forward() %}

    facts as ({{ standing_facts(["actor_key", "kind_key", "occurred_at", "activity_date"]) }}),

    final as (
        select
            {{ row_hash(key) }} as tally_key, actor_key, kind_key, {{ tallied }}, {{ as_of() }} as changed_on
        from facts
        group by actor_key, kind_key
    )
{% else %}

    moved as ({{ moved }}),
    {% if has_rows(recounted_keys) %}

        recounted_keys as ({{ recounted_keys }}),

        facts as ({{ standing_facts(["actor_key", "kind_key", "occurred_at", "activity_date"]) }}),

        recounted as (
            select
                recounted_keys.tally_key,
                min(facts.occurred_at) as first_at,
                max(facts.occurred_at) as last_at,
                max(facts.activity_date) as last_date
            from facts
            inner join
                recounted_keys
                on facts.actor_key = recounted_keys.actor_key
                and facts.kind_key = recounted_keys.kind_key
            group by recounted_keys.tally_key
        ),
    {% else %} recounted as (select * from moved where is_recounted and total_count > 0),
    {% endif %}

    final as (
        select
            moved.tally_key,
            moved.actor_key,
            moved.kind_key,
            {% for value in ["first_at", "last_at", "last_date"] %}
                case
                    when recounted.tally_key is null then moved.{{ value }} else recounted.{{ value }}
                end as {{ value }},
            {% endfor %}
            {% for count in counts %} moved.{{ count }},
            {% endfor %}
            {{ as_of() }} as changed_on,
            moved.total_count = 0 as is_gone
        from moved
        left join recounted on moved.tally_key = recounted.tally_key
    )
{% endif %}

select *
from final
