with

    referrals as (select * from {{ ref("stg_raw__referrals") }}),

    leads as (select * from {{ ref("stg_raw__leads") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    invitations as (
        select
            inviters.user_id,
            invitees.user_id as invitee_user_id,
            max(case when {{ happened("referrals.joined_at") }} then 1 else 0 end) as is_joined
        from referrals
        inner join
            lookup as inviters
            on referrals.inviter_id_type = inviters.id_type
            and referrals.inviter_id = inviters.id
        inner join
            lookup as invitees
            on referrals.invitee_id_type = invitees.id_type
            and referrals.invitee_id = invitees.id
        where inviters.user_id <> invitees.user_id and {{ happened("referrals.invited_at") }}
        group by inviters.user_id, invitees.user_id
    ),

    invitation_values as (
        select user_id, count(*) as invited_count, sum(is_joined) as invited_joined_count
        from invitations
        group by user_id
    ),

    lead_values as (
        select
            lookup.user_id,
            count(*) as leads_count,
            max({{ business_date("leads.created_at") }}) as last_lead_created_date,
            coalesce(bool_or({{ happened("leads.won_at") }}), false) as is_lead_won
        from leads
        inner join
            lookup
            on case when leads.id_type is null or leads.id is null then 'lead_id' else leads.id_type end
            = lookup.id_type
            and case when leads.id_type is null or leads.id is null then leads.lead_id else leads.id end
            = lookup.id
        where {{ happened("leads.created_at") }}
        group by lookup.user_id
    ),

    final as (
        select
            coalesce(invitation_values.user_id, lead_values.user_id) as user_id,
            coalesce(invitation_values.invited_count, 0) as invited_count,
            coalesce(invitation_values.invited_joined_count, 0) as invited_joined_count,
            coalesce(lead_values.leads_count, 0) as leads_count,
            lead_values.last_lead_created_date,
            coalesce(lead_values.is_lead_won, false) as is_lead_won
        from invitation_values
        full outer join lead_values on invitation_values.user_id = lead_values.user_id
    )

select *
from final
