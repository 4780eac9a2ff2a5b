{{ config(materialized="running", unique_key="actor_key", meta={"tombstones": true}) }}

{%- set forward = is_forward() %}

with
    written as {{ inline() }} (select * from {{ ref("int_identity__written") }}),
    components as (select * from {{ ref("int_identity__components") }}),
    users as (select * from {{ ref("int_identity__users") }}),
    rooted as (
        select
            written.actor_key,
            written.identifier_key,
            coalesce(components.component, written.identifier_key) as root_identifier_key
        from written
        left join components on components.node = written.identifier_key
        where written.identifier_key is not null
    ),
    owned as (
        select rooted.* from rooted inner join users on users.root_identifier_key = rooted.root_identifier_key
    ),
    {% if forward %}
        changed as (
            select
                coalesce(owned.actor_key, held.actor_key) as actor_key,
                owned.identifier_key,
                owned.root_identifier_key
            from owned
            full outer join {{ this }} as held on held.actor_key = owned.actor_key
            where owned.root_identifier_key is distinct from held.root_identifier_key
        ),
    {% endif %}
    final as (
        select
            changed.actor_key,
            written.written_id_type as id_type,
            written.written_id as id,
            users.user_id,
            changed.identifier_key,
            changed.root_identifier_key,
            {{ as_of() }} as changed_on
            {%- if forward %}, users.user_id is null as is_gone {% endif %}
        from {{ "changed" if forward else "owned as changed" }} {{ "left" if forward else "inner" }}
        join written on written.actor_key = changed.actor_key {{ "left" if forward else "inner" }}
        join users on users.root_identifier_key = changed.root_identifier_key
    )
select *
from final
