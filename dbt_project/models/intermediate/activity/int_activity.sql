{{ config(materialized="view") }}

with
    -- Kept apart, it would have the engine read all columns of the stream, whatever the reader wants.
    owners as {{ inline() }} (select actor_key, user_id from {{ ref("int_activity__owners") }}),
    tracked as (select * from {{ ref("int_activity__tracked") }} where removed_on is null),
    dealings as (select * from {{ ref("int_activity__dealings") }} where removed_on is null),
    final as (
        {% for part in ["tracked", "dealings"] %}
            select
                owners.user_id,
                {{ part }}.activity,
                {{ part }}.occurred_at,
                {{ part }}.activity_date,
                {{ part }}.activity_id,
                {{ part }}.channel,
                {{ part }}.touchpoint,
                {% if part == "tracked" %}
                    tracked.touch_id, cast(tracked.session_key as varchar) as session_id,
                {% else %} cast(null as varchar) as touch_id, cast(null as varchar) as session_id,
                {% endif %}
                {{ part }}.product_id,
                {{ part }}.content_id,
                {{ part }}.campaign_id,
                {{ part }}.amount
            from {{ part }}
            inner join owners on owners.actor_key = {{ part }}.actor_key
            where owners.user_id is not null
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    )
select *
from final
