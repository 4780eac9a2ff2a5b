{{
    config(
        materialized="running",
        incremental_strategy="whole",
        meta={"scratch": ["removed", "recounted", "actors", "changed"]},
    )
}}

{%- set forward = is_forward() %}
{%- set windows = [7, 30, 90] %}
{%- set columns = ["actor_key", "kind_key", "occurred_at", "activity_date"] %}
{%- set in_window -%} activity_date > {{ add_days(as_of(), -90) }} {%- endset %}

{%- set imports %}
with
    tracked as {{ inline() }} (
        select *, session_key is not null as has_session from {{ ref("int_activity__stream") }}
    ),
    dealings as {{ inline() }} (select *, false as has_session from {{ ref("int_activity__dealings") }}),
    owners as {{ inline() }} (select * from {{ ref("int_activity__owners") }})
{% endset %}

{%- if forward %}
    {#- What was taken back cannot be subtracted from days, and an identifier that goes to another user takes all it did along. -#}
    {%- set removed %}
        {{ imports }}
        select actor_key
        from tracked
        where {{ is_removed() }}
        union
        select actor_key
        from dealings
        where {{ is_removed() }}
    {% endset %}
    {%- set removed = counted_rows("removed", removed) %}
    {%- set recounted %}
        {{ imports }},
        removed_actors as ({{ removed }})
        {{ touched_owners("removed_actors") }}
    {% endset %}
    {%- set recounted = counted_rows("recounted", recounted) %}
    {%- set actors %}
        select owners.actor_key, owners.owner_key
        from {{ ref("int_activity__owners") }} as owners
        inner join ({{ recounted }}) as recounted on owners.owner_key = recounted.owner_key
    {% endset %}
    {%- set actors = counted_rows("actors", actors) %}
    {#- One scan per reason, so that each reads only the part of the stream that can hold its rows. Counted before their owners are looked up: the engine takes them for far more. -#}
    {%- set changed %}
        {{ imports }}
    {% for part in ["tracked", "dealings"] %}
        select
            {{ columns | join(", ") }},
            has_session,
            true as is_new
            {%- for days in windows %}
                ,
                case
                    when activity_date > {{ add_days(as_of(), -days) }} then 1 else 0
                end as count_{{ days }}d
            {%- endfor %}
        from {{ part }}
        where {{ is_added() }}
        {% for left in windows %}
            union all
            select
                {{ columns | join(", ") }},
                has_session,
                false as is_new
                {%- for days in windows %}, {{ -1 if days == left else 0 }} as count_{{ days }}d {%- endfor %}
            from {{ part }}
            where {{ is_expiring(left) }}
        {% endfor %}
        {% if not loop.last %}
            union all
        {% endif %}
    {% endfor %}
    {% endset %}
    {%- set changed = counted_rows("changed", changed) %}
{%- endif %}

{{ imports }},
{% if forward %} recounted as ({{ recounted }}), actors as ({{ actors }}), changed as ({{ changed }}),
{% else %}
    recounted as (select owner_key from owners where false),
    actors as (select * from owners where false),
    changed as (
        select
            {{ columns | join(", ") }},
            has_session,
            true as is_new
            {%- for days in windows %}, 0 as count_{{ days }}d
            {%- endfor %}
        from tracked
        where false
    ),
{% endif %}
owned as (
    select
        owners.owner_key,
        false as is_recounted,
        changed.kind_key,
        changed.occurred_at,
        changed.activity_date,
        changed.has_session,
        changed.is_new
        {%- for days in windows %}, changed.count_{{ days }}d {%- endfor %}
    from changed
    inner join owners on changed.actor_key = owners.actor_key
    left join recounted on owners.owner_key = recounted.owner_key
    where owners.owner_key is not null and recounted.owner_key is null
),
-- All that stands in the windows, in place of what is held.
standing as (
    select
        actors.owner_key,
        true as is_recounted,
        facts.kind_key,
        facts.occurred_at,
        facts.activity_date,
        -- Not read: whoever is counted again is so in all.
        cast(null as boolean) as has_session,
        true as is_new
        {%- for days in windows %}
            ,
            case
                when facts.activity_date > {{ add_days(as_of(), -days) }} then 1 else 0
            end as count_{{ days }}d
        {%- endfor %}
    from ({{ standing_facts(columns, in_window) }}) as facts
    inner join actors on facts.actor_key = actors.actor_key
),
final as (
    select *
    from owned
    union all
    select *
    from standing
    union all
    select owner_key, true as is_recounted, null, null, null, null, true, 0, 0, 0
    from recounted
)
select
    owner_key,
    is_recounted,
    kind_key,
    occurred_at,
    activity_date,
    has_session,
    is_new
    {%- for days in windows %}, cast(count_{{ days }}d as smallint) as count_{{ days }}d {%- endfor %}
from final
