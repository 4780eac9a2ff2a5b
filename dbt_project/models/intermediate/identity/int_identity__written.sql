with
    contacts as (select * from {{ ref("stg_raw__contacts") }}),
    members as (
        select *, coalesce(registered_at, updated_at, {{ day_start("_first_arrived_on") }}) as seen_at
        from {{ ref("stg_raw__members") }}
    ),
    identity_links as (select * from {{ ref("stg_raw__identity_links") }}),
    group_memberships as (select * from {{ ref("stg_raw__group_memberships") }}),
    orders as (select * from {{ ref("stg_raw__orders") }}),
    refunds as (select * from {{ ref("stg_raw__refunds") }}),
    events as (select * from {{ ref("stg_raw__events") }}),
    touches as (select * from {{ ref("stg_raw__touches") }}),
    coupons as (select * from {{ ref("stg_raw__coupons") }}),
    leads as (
        select
            *,
            case when id_type is null or id is null then 'lead_id' else id_type end as lead_id_type,
            case when id_type is null or id is null then lead_id else id end as lead_identifier
        from {{ ref("stg_raw__leads") }}
    ),
    referrals as (select * from {{ ref("stg_raw__referrals") }}),
    surveys as (select * from {{ ref("stg_raw__surveys") }}),
    manual_tags as (select * from {{ ref("stg_raw__manual_tags") }}),
    experiment_assignments as (select * from {{ ref("stg_raw__experiment_assignments") }}),
    consents as (select * from {{ ref("stg_raw__consents") }}),
    erasure_requests as (select * from {{ ref("stg_raw__erasure_requests") }}),
    junk_identifiers as (select * from {{ ref("junk_identifiers") }}),
    identifier_types as (select * from {{ ref("identifier_types") }}),
    -- Aggregated in each table first: few rows are then normalised, however many facts there are.
    sightings as (
        {{ identifier_sightings("contacts", "'contact_id'", "contact_id", "added_at") }}
        union all
        {{ identifier_sightings("contacts", "'unionid'", "unionid", "added_at") }}
        union all
        {{ identifier_sightings("members", "'member_id'", "member_id", "seen_at") }}
        union all
        {{ identifier_sightings("members", "'unionid'", "unionid", "seen_at") }}
        union all
        {{ identifier_sightings("members", "'phone'", "phone", "seen_at") }}
        union all
        {{ identifier_sightings("members", "'email'", "email", "seen_at") }}
        union all
        {{ identifier_sightings("members", "'device_id'", "device_id", "seen_at") }}
        union all
        {{ identifier_sightings("identity_links", "id_type_a", "id_a", "linked_at") }}
        union all
        {{ identifier_sightings("identity_links", "id_type_b", "id_b", "linked_at") }}
        union all
        {{ identifier_sightings("group_memberships", "id_type", "id", "joined_at") }}
        union all
        {{ identifier_sightings("orders", "id_type", "id", "ordered_at") }}
        union all
        {{ identifier_sightings("refunds", "id_type", "id", "refunded_at") }}
        union all
        {{ identifier_sightings("events", "id_type", "id", "occurred_at") }}
        union all
        {{ identifier_sightings("touches", "id_type", "id", "occurred_at") }}
        union all
        {{ identifier_sightings("coupons", "id_type", "id", "issued_at") }}
        union all
        {{ identifier_sightings("leads", "lead_id_type", "lead_identifier", "created_at") }}
        union all
        {{ identifier_sightings("referrals", "inviter_id_type", "inviter_id", "invited_at") }}
        union all
        {{ identifier_sightings("referrals", "invitee_id_type", "invitee_id", "invited_at") }}
        union all
        {{ identifier_sightings("surveys", "id_type", "id", "answered_at") }}
        union all
        {{ identifier_sightings("manual_tags", "id_type", "id", "set_at") }}
        union all
        {{ identifier_sightings("experiment_assignments", "id_type", "id", "assigned_at") }}
        union all
        {{ identifier_sightings("consents", "id_type", "id", "changed_at") }}
        union all
        {{ identifier_sightings("erasure_requests", "id_type", "id", "requested_at") }}
    ),
    written as (
        select
            written_id_type,
            written_id,
            lower(trim(written_id_type)) as id_type,
            {{ normalised_id("written_id_type", "written_id") }} as id,
            min(first_seen_at) as first_seen_at,
            max(last_seen_at) as last_seen_at,
            min(first_arrived_on) as first_arrived_on,
            min(first_sighting) as first_sighting
        from sightings
        group by 1, 2
    ),
    judged as (
        select
            written.*,
            {{ is_placeholder_id("written.written_id_type", "written.written_id") }}
            or everywhere.value is not null
            or in_kind.value is not null as is_junk
        from written
        left join
            junk_identifiers as everywhere
            on everywhere.id_type = '*'
            and lower(everywhere.value) = lower(written.id)
        left join
            junk_identifiers as in_kind
            on in_kind.id_type = written.id_type
            and lower(in_kind.value) = lower(written.id)
    ),
    identifiers as (
        select id_type, id, min(first_sighting) as first_sighting from judged where not is_junk group by 1, 2
    ),
    numbered as (
        select
            identifiers.id_type,
            identifiers.id,
            row_number() over (
                order by
                    identifiers.first_sighting nulls last,
                    coalesce(kind.priority, other.priority) nulls last,
                    identifiers.id_type nulls last,
                    identifiers.id nulls last
            ) as identifier_key
        from identifiers
        left join identifier_types as kind on kind.id_type = identifiers.id_type
        left join identifier_types as other on other.id_type = '*'
    ),
    final as (
        select
            judged.written_id_type,
            judged.written_id,
            judged.id_type,
            judged.id,
            judged.is_junk,
            numbered.identifier_key,
            judged.first_seen_at,
            judged.last_seen_at,
            judged.first_arrived_on
        from judged
        left join
            numbered on not judged.is_junk and numbered.id_type = judged.id_type and numbered.id = judged.id
    )
select *
from final
