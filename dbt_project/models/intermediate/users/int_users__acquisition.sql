with

    contacts as (select * from {{ ref("int_users__contacts") }}),

    landing_codes as (select * from {{ ref("stg_raw__landing_codes") }}),

    channel_costs as (select * from {{ ref("stg_raw__channel_costs") }}),

    members as (select * from {{ ref("stg_raw__members") }}),

    leads as (select * from {{ ref("stg_raw__leads") }}),

    orders as (select * from {{ ref("int_orders__resolved") }}),

    referrals as (select * from {{ ref("stg_raw__referrals") }}),

    tracked as {{ inline() }} (select * from {{ ref("int_activity__stream") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    kinds as (select * from {{ ref("int_activity__kinds") }}),

    owners as (select actor_key, user_id from {{ ref("int_activity__owners") }} where user_id is not null),

    passive_activities as (select * from {{ ref("passive_activities") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    first_contacts as (
        select
            contacts.user_id,
            contacts.added_at,
            contacts.contact_id,
            contacts.add_way,
            contacts.state_code,
            nullif(trim(landing_codes.channel), '') as code_channel,
            nullif(trim(landing_codes.campaign_id), '') as campaign_id,
            landing_codes.cost
        from contacts
        left join landing_codes on contacts.state_code = landing_codes.state_code
        where contacts.contact_number = 1
    ),

    -- The cost of a code is shared evenly by the users whose first contact came through it.
    code_users as (
        select state_code, count(*) as users
        from first_contacts
        where state_code is not null
        group by state_code
    ),

    entries as (
        select
            user_id,
            added_at as entered_at,
            1 as source_rank,
            contact_id as entry_id,
            coalesce(code_channel, add_way) as channel,
            campaign_id
        from first_contacts
        union all
        select
            lookup.user_id,
            leads.created_at as entered_at,
            2 as source_rank,
            leads.lead_id as entry_id,
            nullif(trim(leads.origin), '') as channel,
            cast(null as varchar) as campaign_id
        from leads
        inner join
            lookup
            on case when leads.id_type is null or leads.id is null then 'lead_id' else leads.id_type end
            = lookup.id_type
            and case when leads.id_type is null or leads.id is null then leads.lead_id else leads.id end
            = lookup.id
        where {{ happened("leads.created_at") }}
        union all
        select
            lookup.user_id,
            members.registered_at as entered_at,
            3 as source_rank,
            members.member_id as entry_id,
            nullif(trim(members.channel), '') as channel,
            cast(null as varchar) as campaign_id
        from members
        inner join lookup on lookup.id_type = 'member_id' and members.member_id = lookup.id
        where {{ happened("members.registered_at") }}
        union all
        select
            user_id,
            ordered_at as entered_at,
            4 as source_rank,
            order_id as entry_id,
            nullif(trim(channel), '') as channel,
            nullif(trim(campaign_id), '') as campaign_id
        from orders
        where user_id is not null
    ),

    ranked_entries as (
        select
            user_id,
            entered_at,
            channel,
            campaign_id,
            row_number() over (
                partition by user_id
                order by entered_at asc nulls last, source_rank asc nulls last, entry_id asc nulls last
            ) as entry_rank
        from entries
        where channel is not null
    ),

    first_entries as (
        select user_id, entered_at, channel, campaign_id from ranked_entries where entry_rank = 1
    ),

    -- Users whom only their behaviour shows. Few: found before the activities of everybody are read.
    shown_actors as {{ computed_once() }} (
        select owners.actor_key, owners.user_id
        from owners
        left join first_entries on owners.user_id = first_entries.user_id
        where first_entries.user_id is null
    ),

    -- The channel they were first seen in.
    seen_channels as (
        select shown_actors.user_id, kinds.channel, min(facts.occurred_at) as seen_at
        from ({{ standing_facts(["actor_key", "kind_key", "occurred_at"]) }}) as facts
        inner join shown_actors on facts.actor_key = shown_actors.actor_key
        inner join kinds on facts.kind_key = kinds.kind_key
        left join passive_activities on kinds.activity = passive_activities.activity
        where kinds.channel is not null and passive_activities.activity is null
        group by shown_actors.user_id, kinds.channel
    ),

    ranked_channels as (
        select
            user_id,
            seen_at,
            channel,
            row_number() over (
                partition by user_id order by seen_at asc nulls last, channel asc nulls last
            ) as channel_rank
        from seen_channels
    ),

    first_channels as (select user_id, seen_at, channel from ranked_channels where channel_rank = 1),

    invitations as (
        select
            invitees.user_id,
            inviters.user_id as inviter_user_id,
            row_number() over (
                partition by invitees.user_id
                order by
                    {{ happened_at("referrals.joined_at") }} asc nulls last,
                    referrals.invited_at asc nulls last,
                    inviters.user_id asc nulls last
            ) as invitation_rank
        from referrals
        inner join
            lookup as invitees
            on referrals.invitee_id_type = invitees.id_type
            and referrals.invitee_id = invitees.id
        inner join
            lookup as inviters
            on referrals.inviter_id_type = inviters.id_type
            and referrals.inviter_id = inviters.id
        where inviters.user_id <> invitees.user_id and {{ happened("referrals.invited_at") }}
    ),

    inviters as (select user_id, inviter_user_id from invitations where invitation_rank = 1),

    acquired as (
        select user_id
        from first_entries
        union
        select user_id
        from first_channels
        union
        select user_id
        from first_contacts
        union
        select user_id
        from inviters
    ),

    dated as (
        select
            acquired.user_id,
            {{ business_date("coalesce(first_entries.entered_at, first_channels.seen_at)") }}
            as acquisition_date,
            coalesce(first_entries.channel, first_channels.channel) as acquisition_channel,
            first_contacts.state_code,
            coalesce(first_contacts.campaign_id, first_entries.campaign_id) as acquisition_campaign_id,
            cast(first_contacts.cost as double) / code_users.users as code_cost
        from acquired
        left join first_entries on acquired.user_id = first_entries.user_id
        left join first_channels on acquired.user_id = first_channels.user_id
        left join first_contacts on acquired.user_id = first_contacts.user_id
        left join code_users on first_contacts.state_code = code_users.state_code
    ),

    -- What a channel cost in a calendar month is shared evenly by the users who came through it then.
    month_users as (
        select
            acquisition_channel as channel,
            year(acquisition_date) as cost_year,
            month(acquisition_date) as cost_month,
            count(*) as users
        from dated
        where acquisition_channel is not null
        group by 1, 2, 3
    ),

    month_costs as (
        select
            trim(channel) as channel,
            year(cost_date) as cost_year,
            month(cost_date) as cost_month,
            sum(amount) as amount
        from channel_costs
        where cost_date <= {{ as_of() }}
        group by 1, 2, 3
    ),

    month_shares as (
        select
            month_users.channel,
            month_users.cost_year,
            month_users.cost_month,
            cast(month_costs.amount as double) / month_users.users as cost
        from month_users
        inner join
            month_costs
            on month_users.channel = month_costs.channel
            and month_users.cost_year = month_costs.cost_year
            and month_users.cost_month = month_costs.cost_month
    ),

    final as (
        select
            dated.user_id,
            dated.acquisition_date,
            dated.acquisition_channel,
            dated.state_code as acquisition_state_code,
            dated.acquisition_campaign_id,
            cast(
                round(coalesce(dated.code_cost, month_shares.cost), 4) as decimal(18, 4)
            ) as acquisition_cost,
            inviters.inviter_user_id is not null as is_invited,
            inviters.inviter_user_id
        from dated
        left join
            month_shares
            on dated.acquisition_channel = month_shares.channel
            and year(dated.acquisition_date) = month_shares.cost_year
            and month(dated.acquisition_date) = month_shares.cost_month
        left join inviters on dated.user_id = inviters.user_id
    )

select *
from final
