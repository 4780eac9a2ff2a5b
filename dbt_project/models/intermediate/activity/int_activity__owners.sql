{{ config(materialized="running", incremental_strategy="whole") }}

with
    lookup as (select * from {{ ref("int_identity__lookup") }}),
    users as (select * from {{ ref("int_identity__users") }}),
    actors as (
        select {{ row_hash(["id_type", "id"]) }} as actor_key, user_id
        from lookup
        union all
        select {{ row_hash(["user_id"]) }} as actor_key, user_id
        from users
    ),
    owned as (select actor_key, {{ row_hash(["user_id"]) }} as owner_key, user_id from actors),
    final as (
        {% if is_forward() %}
            select
                coalesce(owned.actor_key, held.actor_key) as actor_key,
                owned.owner_key,
                owned.user_id,
                held.owner_key as previous_owner_key
            from owned
            full outer join {{ this }} as held on held.actor_key = owned.actor_key
            where owned.actor_key is not null or held.owner_key is not null
        {% else %}select *, owner_key as previous_owner_key from owned
        {% endif %}
    )
select *
from final
