with
    refused_links as (select * from {{ ref("int_identity__refused_links") }}),
    shared as (
        select distinct identifier_key
        from {{ ref("int_identity__shared") }}
        where shared_until = {{ open_end() }}
    ),
    lookup as (select id_type, id, identifier_key, user_id from {{ ref("int_identity__lookup") }}),
    user_of as (select identifier_key, min(user_id) as user_id from lookup group by 1),
    orders as (select * from {{ ref("int_orders__resolved") }}),
    members as ({{ record_versions("members", ["member_id", "registered_at", "gender", "birth_date"]) }}),
    -- What each refused link is about: the shared side, the side that is junk, the pair that a rule parts.
    subjects as (
        {% for near, far in [("a", "b"), ("b", "a")] %}
            select
                links.refused_because as conflict,
                links.id_type_{{ near }} as id_type,
                coalesce(links.id_{{ near }}, '') as id,
                cast(null as varchar) as other_id_type,
                cast(null as varchar) as other_id,
                links.identifier_key_{{ near }} as identifier_key,
                links.identifier_key_{{ far }} as other_key,
                links.stated_from
            from refused_links as links
            left join shared on shared.identifier_key = links.identifier_key_{{ near }}
            where
                (links.refused_because = 'above_limit' and shared.identifier_key is not null)
                or (
                    links.refused_because = 'junk_identifier' and links.identifier_key_{{ near }} is null
                    {% if near == "b" %} and links.identifier_key_a is not null {% endif %}
                )
            union all
        {% endfor %}
        select
            refused_because as conflict,
            id_type_a as id_type,
            id_a as id,
            case when refused_because = 'excluded_by_rule' then id_type_b end as other_id_type,
            case when refused_because = 'excluded_by_rule' then id_b end as other_id,
            identifier_key_a as identifier_key,
            identifier_key_b as other_key,
            stated_from
        from refused_links
        where refused_because in ('same_identifier', 'excluded_by_rule')
    ),
    ends as (
        select conflict, id_type, id, other_id_type, other_id, identifier_key as end_key
        from subjects
        union
        select conflict, id_type, id, other_id_type, other_id, other_key as end_key
        from subjects
    ),
    end_users as (
        select
            ends.conflict,
            ends.id_type,
            ends.id,
            ends.other_id_type,
            ends.other_id,
            count(distinct user_of.user_id) as users
        from ends
        left join user_of on user_of.identifier_key = ends.end_key
        group by 1, 2, 3, 4, 5
    ),
    links as (
        select
            conflict,
            id_type,
            id,
            other_id_type,
            other_id,
            min(identifier_key) as identifier_key,
            count(*) as links,
            min(stated_from) as known_on
        from subjects
        group by 1, 2, 3, 4, 5
    ),
    link_conflicts as (
        select
            links.conflict,
            links.id_type,
            {{ keyed_hash("links.id_type || ':' || links.id") }} as id_hash,
            links.other_id_type,
            {{ keyed_hash("links.other_id_type || ':' || links.other_id") }} as other_id_hash,
            user_of.user_id,
            links.links,
            end_users.users,
            cast(null as bigint) as values_found,
            links.known_on,
            'links_refused' as outcome
        from links
        inner join
            end_users
            on end_users.conflict = links.conflict
            and end_users.id_type = links.id_type
            and end_users.id = links.id
            and end_users.other_id_type is not distinct from links.other_id_type
            and end_users.other_id is not distinct from links.other_id
        left join user_of on user_of.identifier_key = links.identifier_key
    ),
    -- Every version of every member of a user, those replaced since too.
    told as (
        select
            lookup.user_id,
            members.birth_date,
            {{ gender_code("members.gender") }} as gender,
            members.registered_at,
            members.in_force_from,
            members.in_force_until
        from members
        inner join lookup on lookup.id_type = 'member_id' and lookup.id = members.member_id
        where members.registered_at is null or {{ happened("members.registered_at") }}
    ),
    values_told as (
        select 'birth_dates_differ' as conflict, user_id, cast(birth_date as varchar) as value, in_force_from
        from told
        where birth_date <= {{ as_of() }}
        union all
        select 'genders_differ' as conflict, user_id, gender as value, in_force_from
        from told
        where gender is not null
    ),
    first_told as (
        select conflict, user_id, value, min(in_force_from) as first_on from values_told group by 1, 2, 3
    ),
    value_conflicts as (
        select
            conflict,
            cast(null as varchar) as id_type,
            cast(null as varchar) as id_hash,
            cast(null as varchar) as other_id_type,
            cast(null as varchar) as other_id_hash,
            user_id,
            cast(null as bigint) as links,
            cast(null as bigint) as users,
            count(*) as values_found,
            max(first_on) as known_on,
            'latest_value_counts' as outcome
        from first_told
        group by conflict, user_id
        having count(*) > 1
    ),
    registrations as (
        select user_id, min(registered_at) as registered_at
        from told
        where in_force_until = {{ open_end() }}
        group by 1
    ),
    first_orders as (
        select user_id, min(ordered_at) as ordered_at from orders where user_id is not null group by 1
    ),
    late_registrations as (
        select
            'registered_after_first_order' as conflict,
            cast(null as varchar) as id_type,
            cast(null as varchar) as id_hash,
            cast(null as varchar) as other_id_type,
            cast(null as varchar) as other_id_hash,
            registrations.user_id,
            cast(null as bigint) as links,
            cast(null as bigint) as users,
            cast(null as bigint) as values_found,
            {{ business_date("registrations.registered_at") }} as known_on,
            'both_dates_stand' as outcome
        from registrations
        inner join first_orders on first_orders.user_id = registrations.user_id
        where
            {{ business_date("registrations.registered_at") }}
            > {{ business_date("first_orders.ordered_at") }}
    ),
    conflicts as (
        select *
        from link_conflicts
        union all
        select *
        from value_conflicts
        union all
        select *
        from late_registrations
    ),
    final as (
        select
            cast(conflict as varchar) as conflict,
            cast(id_type as varchar) as id_type,
            cast(id_hash as varchar) as id_hash,
            cast(other_id_type as varchar) as other_id_type,
            cast(other_id_hash as varchar) as other_id_hash,
            cast(user_id as varchar) as user_id,
            cast(links as bigint) as links,
            cast(users as bigint) as users,
            cast(values_found as bigint) as values_found,
            cast(known_on as date) as known_on,
            cast(outcome as varchar) as outcome
        from conflicts
    )
select *
from final
