{{ config(materialized="running", unique_key="actor_key", meta={"tombstones": true}) }}

with
    lookup as (select * from {{ ref("int_identity__lookup") }}),
    users as (select * from {{ ref("int_identity__users") }}),
    actors as (
        select actor_key, user_id
        from lookup
        union all
        select {{ row_hash(["user_id"]) }} as actor_key, user_id
        from users
    ),
    owned as (select actor_key, {{ row_hash(["user_id"]) }} as owner_key, user_id from actors),
    final as (
        {% if is_forward() %}
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
            full outer join {{ this }} as held on held.actor_key = owned.actor_key
            where
                owned.owner_key is distinct from held.owner_key
                or (owned.actor_key is null and held.owner_key is null)
        {% else %}select *, owner_key as previous_owner_key, {{ as_of() }} as changed_on from owned
        {% endif %}
    )
select *
from final
