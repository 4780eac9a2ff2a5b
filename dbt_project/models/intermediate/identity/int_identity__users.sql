with
    written as (select * from {{ ref("int_identity__written") }}),
    components as (select * from {{ ref("int_identity__components") }}),
    identifiers as (
        select
            identifier_key,
            min(id_type) as id_type,
            min(id) as id,
            min(first_seen_at) as first_seen_at,
            max(last_seen_at) as last_seen_at,
            min(first_arrived_on) as first_arrived_on,
            bool_or(is_current) as is_current
        from written
        where identifier_key is not null
        group by 1
    ),
    -- Keys are numbered from the oldest identifier on, so the smallest of a component names the user.
    users as (
        select
            coalesce(components.component, identifiers.identifier_key) as root_identifier_key,
            min(identifiers.first_seen_at) as first_seen_at,
            max(identifiers.last_seen_at) as last_seen_at,
            min(identifiers.first_arrived_on) as first_arrived_on,
            count(*) as identifier_count
        from identifiers
        left join components on components.node = identifiers.identifier_key
        group by 1
        having bool_or(identifiers.is_current)
    ),
    final as (
        select
            'u' || substring({{ keyed_hash("root.id_type || ':' || root.id") }}, 1, 20) as user_id,
            row_number() over (order by users.root_identifier_key nulls last) as user_key,
            users.root_identifier_key,
            users.first_seen_at,
            users.last_seen_at,
            users.first_arrived_on,
            users.identifier_count
        from users
        inner join identifiers as root on root.identifier_key = users.root_identifier_key
    )
select *
from final
