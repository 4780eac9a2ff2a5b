{{ config(materialized="running", unique_key="owner_key", meta={"tombstones": true}) }}

{%- set forward = is_forward() %}
{%- set items_of = {"product": "product_id", "content": "content_id", "campaign": "campaign_id"} %}
{%- set fact_columns = [
    "actor_key",
    "activity",
    "occurred_at",
    "activity_date",
    "product_id",
    "content_id",
    "campaign_id",
] %}
{%- set speaks -%}
    activity in (select activity from strengths)
    and (product_id is not null or content_id is not null or campaign_id is not null)
{%- endset %}

with

    tracked as {{ inline() }} (select * from {{ ref("int_activity__tracked") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    owners as {{ inline() }} (select * from {{ ref("int_activity__owners") }}),

    all_items as (select * from {{ ref("int_interests__items") }}),

    items as (select * from all_items where removed_on is null),

    -- The number of an activity stands for its name beside the moment: see latest_at.
    strengths as (
        select
            activity,
            cast(round(strength * 1000) as bigint) as thousandths,
            row_number() over (order by activity asc nulls last) as activity_number
        from {{ ref("interest_strengths") }}
    ),

    interests as (
        select tag, dimension, half_life_days from {{ ref("catalog_tag_sources") }} where kind = 'interest'
    ),
    {% if forward %}

        changed_items as (
            select item_type, item_id
            from all_items
            where added_on > {{ forward_from() }} or removed_on > {{ forward_from() }}
        ),

        changed_actors as (
            {% for part in ["tracked", "dealings"] %}
                select actor_key
                from {{ part }}
                where {{ is_added() }} and {{ speaks }}
                union
                select actor_key
                from {{ part }}
                where {{ is_removed() }} and {{ speaks }}
                {% for item, column in items_of.items() %}
                    union
                    select actor_key
                    from {{ part }}
                    where
                        activity in (select activity from strengths)
                        and {{ column }} in (select item_id from changed_items where item_type = '{{ item }}')
                {% endfor %}
                {% if not loop.last %}
                    union
                {% endif %}
            {% endfor %}
        ),

        touched as ({{ touched_owners("changed_actors") }}),
    {% endif %}

    actors as (
        select owners.actor_key, owners.owner_key
        from owners
        {% if forward %} inner join touched on owners.owner_key = touched.owner_key {% endif %}
        where owners.owner_key is not null
    ),

    facts as ({{ standing_facts(fact_columns, speaks) }}),

    -- One row per user, thing and day, before things become their values.
    item_days as (
        {% for item, column in items_of.items() %}
            select
                actors.owner_key,
                '{{ item }}' as item_type,
                facts.{{ column }} as item_id,
                facts.activity_date,
                sum(strengths.thousandths) as thousandths,
                count(*) as facts_count,
                max(
                    {{ funnel_microseconds("facts.occurred_at") }} * 1000 + strengths.activity_number
                ) as latest_at
            from facts
            inner join actors on facts.actor_key = actors.actor_key
            inner join strengths on facts.activity = strengths.activity
            where facts.{{ column }} is not null
            group by actors.owner_key, facts.{{ column }}, facts.activity_date
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),

    days as (
        select
            item_days.owner_key,
            interests.tag,
            items.value,
            interests.half_life_days,
            item_days.activity_date,
            sum(item_days.thousandths) as thousandths,
            sum(item_days.facts_count) as facts_count,
            max(item_days.latest_at) as latest_at
        from item_days
        inner join items on item_days.item_type = items.item_type and item_days.item_id = items.item_id
        inner join interests on items.dimension = interests.dimension
        group by
            item_days.owner_key, interests.tag, items.value, interests.half_life_days, item_days.activity_date
    ),

    dated as (select *, max(activity_date) over (partition by owner_key, tag, value) as last_date from days),

    -- In whole numbers, so that the order of the sum does not matter and a user who is not touched keeps the
    -- very weight that a build from the raw files would find.
    computed as (
        select
            owner_key,
            tag,
            value,
            half_life_days,
            cast(
                sum(
                    cast(
                        thousandths * cast(
                            round(
                                pow(
                                    0.5,
                                    cast({{ days_between("activity_date", "last_date") }} as double)
                                    / half_life_days
                                )
                                * 1073741824
                            ) as bigint
                        ) as decimal(38, 0)
                    )
                ) as double
            )
            / 1073741824000 as weight_then,
            min(activity_date) as first_date,
            max(activity_date) as last_date,
            cast(sum(facts_count) as bigint) as facts_count,
            max(latest_at) as latest_at
        from dated
        group by owner_key, tag, value, half_life_days
    ),

    final as ({{ touched_rows("computed", forward) }})

select *
from final
