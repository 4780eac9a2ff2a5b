{{ config(meta={"dagster": {"ref": {"name": "identity_conflicts"}}}) }}
-- A conflict is listed once for an identifier, a pair or a user, and every refused link is in one.
with
    conflicts as (select * from {{ ref("identity_conflicts") }}),
    refused_links as (select * from {{ ref("int_identity__refused_links") }}),
    repeated as (
        select conflict, coalesce(id_hash, user_id) as subject, other_id_hash
        from conflicts
        group by 1, 2, 3
        having count(*) > 1
    ),
    failures as (
        select conflict || ' is listed twice' as problem
        from repeated
        union all
        select refused_because || ' has refused links and no conflict' as problem
        from refused_links
        where refused_because not in (select conflict from conflicts)
    )
select *
from failures
