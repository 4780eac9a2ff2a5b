with
    members as (
        select *, coalesce(registered_at, updated_at, {{ day_start("_first_arrived_on") }}) as seen_at
        from {{ ref("stg_raw__members") }}
    ),
    contacts as (select * from {{ ref("stg_raw__contacts") }}),
    identity_links as (select * from {{ ref("stg_raw__identity_links") }}),
    written as (select * from {{ ref("int_identity__written") }}),
    identifier_types as (select * from {{ ref("identifier_types") }}),
    stated as (
        {% for kind in ["unionid", "phone", "email", "device_id"] %}
            select
                'members' as stated_by,
                'member_id' as id_type_a,
                member_id as id_a,
                '{{ kind }}' as id_type_b,
                {{ kind }} as id_b,
                seen_at as linked_at,
                _first_arrived_on
            from members
            where {{ kind }} is not null
            union all
        {% endfor %}
        select
            'contacts' as stated_by,
            'contact_id' as id_type_a,
            contact_id as id_a,
            'unionid' as id_type_b,
            unionid as id_b,
            added_at as linked_at,
            _first_arrived_on
        from contacts
        where unionid is not null
        union all
        select 'identity_links' as stated_by, id_type_a, id_a, id_type_b, id_b, linked_at, _first_arrived_on
        from identity_links
    ),
    -- One row per pair, whichever side was written first and however often it was stated.
    pairs as (
        select
            stated.stated_by,
            case when a.identifier_key > b.identifier_key then b.id_type else a.id_type end as id_type_a,
            case when a.identifier_key > b.identifier_key then b.id else a.id end as id_a,
            case when a.identifier_key > b.identifier_key then a.id_type else b.id_type end as id_type_b,
            case when a.identifier_key > b.identifier_key then a.id else b.id end as id_b,
            case
                when a.identifier_key > b.identifier_key then b.identifier_key else a.identifier_key
            end as identifier_key_a,
            case
                when a.identifier_key > b.identifier_key then a.identifier_key else b.identifier_key
            end as identifier_key_b,
            bool_or(a.is_junk or b.is_junk) as is_with_junk,
            min(stated.linked_at) as linked_at,
            min(stated._first_arrived_on) as first_arrived_on
        from stated
        inner join written as a on a.written_id_type = stated.id_type_a and a.written_id = stated.id_a
        inner join written as b on b.written_id_type = stated.id_type_b and b.written_id = stated.id_b
        where {{ happened("stated.linked_at") }}
        group by 1, 2, 3, 4, 5, 6, 7
    ),
    neighbours as (
        select
            identifier_key_a as identifier_key,
            id_type_a as id_type,
            id_type_b as other,
            identifier_key_b as other_key
        from pairs
        where identifier_key_a < identifier_key_b
        union
        select
            identifier_key_b as identifier_key,
            id_type_b as id_type,
            id_type_a as other,
            identifier_key_a as other_key
        from pairs
        where identifier_key_a < identifier_key_b
    ),
    degrees as (select identifier_key, id_type, other, count(*) as linked from neighbours group by 1, 2, 3),
    shared as (
        select distinct degrees.identifier_key
        from degrees
        left join identifier_types as kind on kind.id_type = degrees.id_type
        left join identifier_types as other on other.id_type = degrees.other
        inner join identifier_types as fallback on fallback.id_type = '*'
        where
            degrees.linked > case
                when coalesce(other.is_person, fallback.is_person)
                then coalesce(kind.max_persons, fallback.max_persons)
                else coalesce(kind.max_linked, fallback.max_linked)
            end
    ),
    final as (
        select
            pairs.stated_by,
            pairs.id_type_a,
            pairs.id_a,
            pairs.identifier_key_a,
            pairs.id_type_b,
            pairs.id_b,
            pairs.identifier_key_b,
            pairs.linked_at,
            pairs.first_arrived_on,
            case
                when pairs.is_with_junk
                then 'junk_identifier'
                when pairs.identifier_key_a = pairs.identifier_key_b
                then 'same_identifier'
                when shared_a.identifier_key is not null or shared_b.identifier_key is not null
                then 'above_limit'
            end as refused_because,
            coalesce(shared_a.identifier_key, shared_b.identifier_key) as shared_identifier_key
        from pairs
        left join shared as shared_a on shared_a.identifier_key = pairs.identifier_key_a
        left join shared as shared_b on shared_b.identifier_key = pairs.identifier_key_b
    )
select *
from final
