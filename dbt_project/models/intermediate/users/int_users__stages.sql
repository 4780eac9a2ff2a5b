with

    users as (select * from {{ ref("int_identity__users") }}),

    behaviour as (select * from {{ ref("int_users__behaviour") }}),

    order_cycles as (select * from {{ ref("user_order_cycle") }}),

    dated as (select user_id, {{ business_date("first_seen_at") }} as first_seen_date from users),

    measured as (
        select
            dated.user_id,
            dated.first_seen_date,
            {{ add_days("dated.first_seen_date", var("lifecycle_new_days")) }} as old_from_date,
            behaviour.last_active_date,
            coalesce(behaviour.last_active_date, dated.first_seen_date) as quiet_from_date,
            coalesce(order_cycles.order_days_count, 0) as order_days_count,
            order_cycles.first_order_date,
            order_cycles.second_order_date
        from dated
        left join behaviour on dated.user_id = behaviour.user_id
        left join order_cycles on dated.user_id = order_cycles.user_id
    ),

    -- Days from which silence makes a user dormant and lost; whoever is new is neither.
    bounded as (
        select
            *,
            {{ as_of() }} < old_from_date as is_new,
            {{ days_between("quiet_from_date", as_of()) }} as quiet_days,
            greatest(
                {{ add_days("quiet_from_date", var("lifecycle_dormant_days")) }}, old_from_date
            ) as dormant_from_date,
            greatest(
                {{ add_days("quiet_from_date", var("lifecycle_lost_days")) }}, old_from_date
            ) as lost_from_date
        from measured
    ),

    staged as (
        select
            *,
            case
                when is_new and order_days_count = 0
                then 'new_unbought'
                when is_new
                then 'new_bought'
                when order_days_count = 0
                then 'old_unbought'
                when order_days_count = 1
                then 'old_bought'
                else 'old_repurchased'
            end as lifecycle_stage,
            case
                when is_new
                then 'new'
                when {{ as_of() }} >= lost_from_date
                then 'lost'
                when {{ as_of() }} >= dormant_from_date
                then 'dormant'
                else 'active'
            end as activity_stage
        from bounded
    ),

    final as (
        select
            user_id,
            lifecycle_stage,
            activity_stage,
            first_seen_date,
            old_from_date,
            first_order_date,
            second_order_date,
            last_active_date,
            quiet_days,
            case
                lifecycle_stage
                when 'new_unbought'
                then first_seen_date
                when 'new_bought'
                then greatest(first_order_date, first_seen_date)
                when 'old_unbought'
                then old_from_date
                when 'old_bought'
                then greatest(first_order_date, old_from_date)
                else greatest(second_order_date, old_from_date)
            end as lifecycle_since_date,
            -- The last activity does not tell when an active user became active.
            case
                activity_stage
                when 'new'
                then first_seen_date
                when 'dormant'
                then dormant_from_date
                when 'lost'
                then lost_from_date
            end as activity_since_date,
            case
                activity_stage
                when 'new'
                then
                    case
                        when lost_from_date = old_from_date
                        then 'lost'
                        when dormant_from_date = old_from_date
                        then 'dormant'
                        else 'active'
                    end
                when 'active'
                then 'dormant'
                when 'dormant'
                then 'lost'
            end as next_activity_stage,
            case
                activity_stage
                when 'new'
                then old_from_date
                when 'active'
                then dormant_from_date
                when 'dormant'
                then lost_from_date
            end as next_activity_date
        from staged
    )

select *
from final
