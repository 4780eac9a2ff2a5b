{{
    config(
        materialized="running",
        unique_key="actor_key",
        meta={"tombstones": true, "scratch": ["changes", "lost"]},
    )
}}

{%- set forward = is_forward() %}
{%- set moments = [
    "last_active_date",
    "last_cart_at",
    "last_cart_date",
    "last_paid_at",
    "last_touch_sent_date",
] %}
{%- set columns = ["actor_key", "kind_key", "occurred_at", "activity_date"] %}
{%- set values -%}
    max(case when known_kinds.is_own then facts.activity_date end) as last_active_date,
    max(case when known_kinds.is_cart then facts.occurred_at end) as last_cart_at,
    max(case when known_kinds.is_cart then facts.activity_date end) as last_cart_date,
    max(case when known_kinds.is_paid then facts.occurred_at end) as last_paid_at,
    max(case when known_kinds.is_sent then facts.activity_date end) as last_touch_sent_date,
    count(case when known_kinds.is_touch then 1 end) as touches_count,
    count(*) as facts_count
{%- endset %}

{%- set imports %}
with

    kinds as (select * from {{ ref("int_activity__kinds") }}),

    tracked as {{ inline() }} (select * from {{ ref("int_activity__stream") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),

    known_kinds as (
        select
            kinds.kind_key,
            passive_activities.activity is null as is_own,
            kinds.activity = 'cart' as is_cart,
            kinds.activity = 'order_paid' as is_paid,
            kinds.activity = 'touch_sent' as is_sent,
            kinds.activity like 'touch_%' as is_touch
        from kinds
        left join passive_activities on kinds.activity = passive_activities.activity
    ),
{% endset %}

{%- if forward %}
    {%- set changes %}
        {{ imports }}

        changed_facts as (
            {% for part in ["tracked", "dealings"] %}
                select {{ columns | join(", ") }}, '{{ part }}' as part, false as is_removed
                from {{ part }}
                where {{ is_added() }}
                union all
                select {{ columns | join(", ") }}, '{{ part }}' as part, true as is_removed
                from {{ part }}
                where {{ is_removed() }}
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
        )

        select facts.actor_key, facts.part, facts.is_removed, {{ values }}
        from changed_facts as facts
        inner join known_kinds on facts.kind_key = known_kinds.kind_key
        group by facts.actor_key, facts.part, facts.is_removed
    {% endset %}
    {%- set changes = counted_rows("changes", changes) %}
    {#- A moment that was the last and has been taken back, and nothing as late came: what was the last before it is searched, where anything is left. All rows of an actor are in one part of the stream. -#}
    {%- set lost %}
        with
            changes as ({{ changes }}),

            removed as (select * from changes where is_removed),

            added as (select * from changes where not is_removed)

        select removed.actor_key, removed.part
        from removed
        inner join {{ this }} as held on removed.actor_key = held.actor_key
        left join added on removed.actor_key = added.actor_key
        where
            held.facts_count + coalesce(added.facts_count, 0) > removed.facts_count
            and (
                {% for moment in moments %}
                    removed.{{ moment }} >= held.{{ moment }}
                    and coalesce(added.{{ moment }} < held.{{ moment }}, true)
                    {% if not loop.last %}
                        or
                    {% endif %}
                {% endfor %}
            )
    {% endset %}
    {%- set lost = counted_rows("lost", lost) %}
    {%- set searched = [] %}
    {%- for part in ["tracked", "dealings"] %}
        {%- if has_rows("select 1 from (" ~ lost ~ ") as lost where part = '" ~ part ~ "'") %}
            {%- do searched.append(part) %}
        {%- endif %}
    {%- endfor %}
{%- endif %}

{{ imports }}

{% if forward %}
    changes as ({{ changes }}),

    removed as (select * from changes where is_removed),

    added as (select * from changes where not is_removed),

    lost as ({{ lost }}),

    {% if searched %}
        searched_facts as (
            {% for part in searched %}
                select {{ columns | join(", ") }}
                from {{ part }}
                where removed_on is null and actor_key in (select actor_key from lost)
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
        ),

        searched as (
            select facts.actor_key, {{ values }}
            from searched_facts as facts
            inner join known_kinds on facts.kind_key = known_kinds.kind_key
            group by facts.actor_key
        ),
    {% endif %}

    changed_actors as (select distinct actor_key from changes),

    final as (
        select
            changed_actors.actor_key,
            {%- for moment in moments %}
                {% if searched %}
                    case
                        when lost.actor_key is not null
                        then searched.{{ moment }}
                        else greatest(held.{{ moment }}, added.{{ moment }})
                    end
                {% else %} greatest(held.{{ moment }}, added.{{ moment }})
                {% endif %} as {{ moment }},
            {%- endfor %}
            {%- for count in ["touches_count", "facts_count"] %}
                coalesce(held.{{ count }}, 0)
                + coalesce(added.{{ count }}, 0)
                - coalesce(removed.{{ count }}, 0) as {{ count }},
            {%- endfor %}
            coalesce(held.facts_count, 0) + coalesce(added.facts_count, 0) - coalesce(removed.facts_count, 0)
            = 0 as is_gone
        from changed_actors
        left join {{ this }} as held on changed_actors.actor_key = held.actor_key
        left join added on changed_actors.actor_key = added.actor_key
        left join removed on changed_actors.actor_key = removed.actor_key
        left join lost on changed_actors.actor_key = lost.actor_key
        {% if searched %} left join searched on changed_actors.actor_key = searched.actor_key {% endif %}
    )
{% else %}
    final as (
        select facts.actor_key, {{ values }}
        from ({{ standing_facts(columns) }}) as facts
        inner join known_kinds on facts.kind_key = known_kinds.kind_key
        group by facts.actor_key
    )
{% endif %}

select *
from final
