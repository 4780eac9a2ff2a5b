{{ config(meta={"dagster": {"ref": {"name": "int_activity__owners"}}}) }}
-- Going forward rests on this: an identifier that comes back has done nothing while nobody owned it,
-- so that only what is new is added to its user.
with

    owners as (select * from {{ ref("int_activity__owners") }}),

    tracked as {{ inline() }} (select * from {{ ref("int_activity__stream") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    ownerless as (select actor_key from owners where owner_key is null),

    final as (
        select facts.actor_key, count(*) as facts_count
        from ({{ standing_facts(["actor_key"]) }}) as facts
        inner join ownerless on facts.actor_key = ownerless.actor_key
        group by facts.actor_key
    )

select *
from final
