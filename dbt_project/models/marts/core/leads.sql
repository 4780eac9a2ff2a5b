with
    leads as (
        select
            *,
            case when id_type is null or id is null then 'lead_id' else id_type end as lead_id_type,
            case when id_type is null or id is null then lead_id else id end as lead_identifier
        from {{ ref("stg_raw__leads") }}
        where {{ happened("created_at") }}
    ),
    lookup as (select * from {{ ref("int_identity__lookup") }}),
    known as (
        select
            leads.lead_id,
            lookup.user_id,
            leads.origin,
            leads.landing_page,
            leads.form,
            leads.business_segment,
            -- The amount of a deal that is won after as_of is not known yet.
            case when coalesce({{ happened("leads.won_at") }}, true) then leads.amount end as amount,
            leads.created_at,
            {{ happened_at("leads.mql_at") }} as mql_at,
            {{ happened_at("leads.sql_at") }} as sql_at,
            {{ happened_at("leads.won_at") }} as won_at,
            {{ happened_at("leads.lost_at") }} as lost_at
        from leads
        left join lookup on lookup.id_type = leads.lead_id_type and lookup.id = leads.lead_identifier
    ),
    final as (
        select
            cast(lead_id as varchar) as lead_id,
            cast(user_id as varchar) as user_id,
            cast(origin as varchar) as origin,
            cast(landing_page as varchar) as landing_page,
            cast(form as varchar) as form,
            cast(business_segment as varchar) as business_segment,
            cast(amount as decimal(18, 4)) as amount,
            cast(created_at as timestamp) as created_at,
            cast(mql_at as timestamp) as mql_at,
            cast(sql_at as timestamp) as sql_at,
            cast(won_at as timestamp) as won_at,
            cast(lost_at as timestamp) as lost_at,
            cast(
                case
                    when won_at is not null and (lost_at is null or won_at >= lost_at)
                    then 'won'
                    when lost_at is not null
                    then 'lost'
                    when sql_at is not null
                    then 'sql'
                    when mql_at is not null
                    then 'mql'
                    else 'open'
                end as varchar
            ) as status,
            cast(coalesce(won_at < created_at, false) as boolean) as is_won_before_created,
            cast({{ seconds_between("created_at", "won_at") }} as bigint) as seconds_to_won
        from known
    )
select *
from final
