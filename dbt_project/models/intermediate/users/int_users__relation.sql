with

    contacts as (select * from {{ ref("int_users__contacts") }}),

    memberships as (select * from {{ ref("stg_raw__group_memberships") }}),

    identifiers as (select * from {{ ref("int_identity__identifiers") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    users as (select * from {{ ref("int_identity__users") }}),

    consents as (select * from {{ ref("int_consents__current") }}),

    contact_values as (
        select
            user_id,
            bool_or(is_current) as is_contact,
            min(added_date) as contact_added_date,
            max({{ business_date("deleted_at") }}) as contact_deleted_date,
            coalesce(max(blocked_at) >= max(added_at), false) as is_blocked,
            count(distinct case when is_current then staff_id end) as staff_count
        from contacts
        group by user_id
    ),

    -- How long the user stayed: from the first relation to the end of the last one, as long as none goes on.
    contact_days as (
        select
            *,
            {{ days_between("contact_added_date", as_of()) }} as days_since_contact_added,
            case
                when not is_contact then {{ days_between("contact_added_date", "contact_deleted_date") }}
            end as days_kept
        from contact_values
    ),

    ranked_staff as (
        select
            user_id,
            staff_id,
            row_number() over (
                partition by user_id
                order by added_at asc nulls last, staff_id asc nulls last, contact_id asc nulls last
            ) as staff_rank
        from contacts
        where is_current and staff_id is not null
    ),

    primary_staff as (select user_id, staff_id from ranked_staff where staff_rank = 1),

    group_values as (
        select lookup.user_id, count(distinct memberships.group_id) as group_count
        from memberships
        inner join lookup on memberships.id_type = lookup.id_type and memberships.id = lookup.id
        where
            {{ happened("memberships.joined_at") }}
            and (memberships.left_at is null or not {{ happened("memberships.left_at") }})
        group by lookup.user_id
    ),

    identifier_values as (
        select
            user_id,
            bool_or(id_type = 'phone') as has_phone,
            bool_or(id_type = 'email') as has_email,
            bool_or(id_type = 'unionid') as has_unionid
        from identifiers
        group by user_id
    ),

    -- A channel without a row of its own follows what was said about "all".
    consent_values as (
        select
            user_id,
            bool_or(is_granted) as is_marketing_consented,
            not bool_or(is_granted) as is_marketing_withdrawn,
            coalesce(
                bool_or(is_granted) filter (where channel = 'sms'),
                bool_or(is_granted) filter (where channel = 'all')
            ) as is_sms_consented,
            coalesce(
                bool_or(is_granted) filter (where channel = 'wecom'),
                bool_or(is_granted) filter (where channel = 'all')
            ) as is_wecom_consented
        from consents
        where purpose = 'marketing'
        group by user_id
    ),

    final as (
        select
            users.user_id,
            coalesce(contact_values.is_contact, false) as is_contact,
            contact_values.contact_added_date,
            case
                when not contact_values.is_contact then contact_values.contact_deleted_date
            end as contact_deleted_date,
            contact_values.days_since_contact_added,
            contact_values.days_kept as contact_days,
            -- Not decided before the days are over.
            {%- for days in [1, 7, 30] %}
                case
                    when contact_values.days_kept <= {{ days }}
                    then true
                    when
                        contact_values.days_kept > {{ days }}
                        or contact_values.days_since_contact_added >= {{ days }}
                    then false
                end as is_contact_deleted_within_{{ days }}d,
            {%- endfor %}
            coalesce(not contact_values.is_contact, false) as is_contact_deleted,
            coalesce(contact_values.is_blocked, false) as is_blocked,
            coalesce(contact_values.staff_count, 0) as staff_count,
            primary_staff.staff_id as primary_staff_id,
            coalesce(group_values.group_count, 0) as group_count,
            coalesce(identifier_values.has_phone, false) as has_phone,
            coalesce(identifier_values.has_email, false) as has_email,
            coalesce(identifier_values.has_unionid, false) as has_unionid,
            coalesce(consent_values.is_marketing_consented, false) as is_marketing_consented,
            coalesce(consent_values.is_marketing_withdrawn, false) as is_marketing_withdrawn,
            coalesce(consent_values.is_sms_consented, false) as is_sms_consented,
            coalesce(consent_values.is_wecom_consented, false) as is_wecom_consented
        from users
        left join contact_days as contact_values on users.user_id = contact_values.user_id
        left join primary_staff on users.user_id = primary_staff.user_id
        left join group_values on users.user_id = group_values.user_id
        left join identifier_values on users.user_id = identifier_values.user_id
        left join consent_values on users.user_id = consent_values.user_id
    )

select *
from final
