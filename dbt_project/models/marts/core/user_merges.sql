with
    renames as (select * from {{ ref("int_identity__renames") }}),
    components as (select * from {{ ref("int_identity__components") }}),
    users as (select * from {{ ref("int_identity__users") }}),
    identifiers as (
        select identifier_key, id_type, {{ keyed_hash("id_type || ':' || id") }} as id_hash
        from
            (
                select distinct written.identifier_key, written.id_type, written.id
                from {{ ref("int_identity__written") }} as written
                inner join
                    (
                        select old_key as identifier_key
                        from renames
                        union
                        select new_key as identifier_key
                        from renames
                        union
                        select identifier_key_a as identifier_key
                        from renames
                        union
                        select identifier_key_b as identifier_key
                        from renames
                    ) as named
                    on named.identifier_key = written.identifier_key
            ) as known
    ),
    final as (
        select
            cast('u' || substring(old.id_hash, 1, 20) as varchar) as user_id,
            cast('u' || substring(new.id_hash, 1, 20) as varchar) as new_user_id,
            cast(renames.kind as varchar) as kind,
            cast(renames.changed_on as date) as changed_on,
            cast(users.user_id as varchar) as current_user_id,
            cast(renames.identifiers as bigint) as identifiers,
            cast(renames.cause as varchar) as cause,
            cast(renames.stated_by as varchar) as stated_by,
            cast(renames.source as varchar) as source,
            cast(renames.linked_at as timestamp) as linked_at,
            cast(a.id_type as varchar) as id_type_a,
            cast(a.id_hash as varchar) as id_hash_a,
            cast(b.id_type as varchar) as id_type_b,
            cast(b.id_hash as varchar) as id_hash_b
        from renames
        inner join identifiers as old on old.identifier_key = renames.old_key
        inner join identifiers as new on new.identifier_key = renames.new_key
        left join identifiers as a on a.identifier_key = renames.identifier_key_a
        left join identifiers as b on b.identifier_key = renames.identifier_key_b
        left join components on components.node = renames.new_key
        left join users on users.root_identifier_key = coalesce(components.component, renames.new_key)
    )
select *
from final
