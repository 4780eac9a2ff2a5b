{{ config(materialized="running", incremental_strategy="whole") }}

{%- set forward = is_forward() %}

with
    written as {{ inline() }} (select * from {{ ref("int_identity__written") }}),
    components as (select * from {{ ref("int_identity__components") }}),
    identifiers as (
        select
            identifier_key,
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
    {% if forward %}
        -- The id follows from the oldest identifier, which stays: hashing is most of the work.
        held as (select root_identifier_key, user_id from {{ this }}),
    {% endif %}
    unnamed as (
        select users.root_identifier_key
        from users
        {% if forward %}
            left join held on held.root_identifier_key = users.root_identifier_key
            where held.root_identifier_key is null
        {% endif %}
    ),
    roots as (
        select written.identifier_key, min(written.id_type) as id_type, min(written.id) as id
        from written
        inner join unnamed on unnamed.root_identifier_key = written.identifier_key
        group by 1
    ),
    named as (
        select
            identifier_key as root_identifier_key,
            'u' || substring({{ keyed_hash("id_type || ':' || id") }}, 1, 20) as user_id
        from roots
        {% if forward %}
            union all
            select root_identifier_key, user_id
            from held
        {% endif %}
    ),
    final as (
        select
            named.user_id,
            row_number() over (order by users.root_identifier_key nulls last) as user_key,
            users.root_identifier_key,
            users.first_seen_at,
            users.last_seen_at,
            users.first_arrived_on,
            users.identifier_count
        from users
        inner join named on named.root_identifier_key = users.root_identifier_key
    )
select *
from final
