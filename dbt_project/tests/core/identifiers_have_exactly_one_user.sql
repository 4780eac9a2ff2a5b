{{ config(meta={"dagster": {"ref": {"name": "int_identity__identifiers"}}}) }}
-- Every identifier that is no junk has one user, and identifiers joined by a link that counts have the same
-- one.
with
    written as (select * from {{ ref("int_identity__written") }}),
    identifiers as (select * from {{ ref("int_identity__identifiers") }}),
    links as (select * from {{ ref("int_identity__links") }}),
    known as (select id_type, id from written where not is_junk group by 1, 2),
    with_users as (
        select known.id_type, count(identifiers.user_id) as users
        from known
        left join identifiers on identifiers.id_type = known.id_type and identifiers.id = known.id
        group by known.id_type, known.id
    ),
    failures as (
        select id_type, 'users: ' || cast(users as varchar) as problem
        from with_users
        where users <> 1
        union all
        select links.id_type_a as id_type, 'linked to an identifier of another user' as problem
        from links
        inner join identifiers as a on a.id_type = links.id_type_a and a.id = links.id_a
        inner join identifiers as b on b.id_type = links.id_type_b and b.id = links.id_b
        where links.refused_because is null and a.user_id <> b.user_id
    )
select *
from failures
