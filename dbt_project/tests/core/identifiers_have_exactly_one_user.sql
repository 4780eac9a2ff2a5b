{{ config(meta={"dagster": {"ref": {"name": "int_identity__identifiers"}}}) }}
-- Every identifier that a row names today and that is no junk has one user, and identifiers joined by a link
-- that counts have the same one.
with
    written as (select * from {{ ref("int_identity__written") }}),
    identifiers as (select * from {{ ref("int_identity__identifiers") }}),
    lookup as (
        select identifier_key, min(user_id) as user_id, max(user_id) as last_user_id
        from {{ ref("int_identity__lookup") }}
        group by 1
    ),
    links as (select * from {{ ref("int_identity__links") }} where counts_until = {{ open_end() }}),
    known as (select id_type, id from written where not is_junk and is_current group by 1, 2),
    with_users as (
        select known.id_type, count(identifiers.user_id) as users
        from known
        left join identifiers on identifiers.id_type = known.id_type and identifiers.id = known.id
        group by known.id_type, known.id
    ),
    failures as (
        select 'users: ' || cast(users as varchar) as problem
        from with_users
        where users <> 1
        union all
        select 'linked to an identifier of another user' as problem
        from links
        inner join lookup as a on a.identifier_key = links.identifier_key_a
        inner join lookup as b on b.identifier_key = links.identifier_key_b
        where a.user_id <> b.user_id or a.user_id <> a.last_user_id
    )
select *
from failures
