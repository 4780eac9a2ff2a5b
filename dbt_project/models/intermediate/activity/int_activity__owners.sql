{{
    config(
        materialized="running",
        unique_key="actor_key",
        meta={"tombstones": true, "scratch": ["moved"]},
    )
}}

{%- set forward = is_forward() %}
{%- set lookup = ref("int_identity__lookup") %}
{%- set users = ref("int_identity__users") %}

{%- if forward %}
    {#- Identifiers that came or changed hands, and the users they name or named before. -#}
    {%- set moved %}
        with
            changed as (select actor_key, user_id from {{ lookup }} where changed_on > {{ forward_from() }}),
            named as (
                select user_id
                from changed
                union
                select held.user_id
                from changed
                inner join {{ this }} as held on held.actor_key = changed.actor_key
                where held.user_id is not null
            )
        select actor_key, user_id
        from changed
        union all
        select {{ row_hash(["named.user_id"]) }} as actor_key, users.user_id
        from named
        left join {{ users }} as users on users.user_id = named.user_id
    {% endset %}
    {%- set moved = counted_rows("moved", moved) %}
    {#- Whoever else has an owner now had the same before, so the numbers say whether any was lost without being named. -#}
    {%- set lost %}
        select 1
        where
            (select count(*) from {{ this }} where owner_key is not null)
            - (
                select count(*)
                from {{ this }} as held
                inner join ({{ moved }}) as moved on moved.actor_key = held.actor_key
                where held.owner_key is not null
            )
            <> (select count(*) from {{ lookup }})
            + (select count(*) from {{ users }})
            - (select count(*) from ({{ moved }}) as moved where user_id is not null)
    {% endset %}
{%- endif %}
{%- set moved_only = forward and not has_rows(lost) %}

with
    actors as (
        {% if moved_only %}select actor_key, user_id from ({{ moved }}) as moved where user_id is not null
        {% else %}
            select actor_key, user_id
            from {{ lookup }}
            union all
            select {{ row_hash(["users.user_id"]) }} as actor_key, users.user_id
            from {{ users }} as users
        {% endif %}
    ),
    owned as (select actor_key, {{ row_hash(["user_id"]) }} as owner_key, user_id from actors),
    {% if forward %}
        held as (
            select *
            from {{ this }}
            {% if moved_only %}
                where owner_key is null or actor_key in (select actor_key from ({{ moved }}) as moved)
            {% endif %}
        ),
    {% endif %}
    final as (
        {% if forward %}
            -- Only those whose owner has changed. One without owner stays for one build, so that its old
            -- owner is known to have lost it. A new one went from nobody to its owner: what it does is all
            -- new.
            select
                coalesce(owned.actor_key, held.actor_key) as actor_key,
                owned.owner_key,
                owned.user_id,
                case
                    when held.actor_key is null then owned.owner_key else held.owner_key
                end as previous_owner_key,
                {{ as_of() }} as changed_on,
                owned.actor_key is null and held.owner_key is null as is_gone
            from owned
            full outer join held on held.actor_key = owned.actor_key
            where
                owned.owner_key is distinct from held.owner_key
                or (owned.actor_key is null and held.owner_key is null)
        {% else %}select *, owner_key as previous_owner_key, {{ as_of() }} as changed_on from owned
        {% endif %}
    )
select *
from final
