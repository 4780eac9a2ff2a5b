with

    users as (select * from {{ ref("int_identity__users") }}),

    behaviour as (select * from {{ ref("int_users__behaviour") }}),

    spending as (select * from {{ ref("int_users__spending") }}),

    dated as (select user_id, {{ business_date("first_seen_at") }} as first_seen_date from users),

    measured as (
        select
            dated.user_id,
            {{ days_between("dated.first_seen_date", as_of()) }} < {{ var("lifecycle_new_days") }} as is_new,
            coalesce(
                {{ days_between("behaviour.last_active_date", as_of()) }},
                {{ days_between("dated.first_seen_date", as_of()) }}
            ) as quiet_days,
            coalesce(spending.order_days_count, 0) as order_days_count
        from dated
        left join behaviour on dated.user_id = behaviour.user_id
        left join spending on dated.user_id = spending.user_id
    ),

    final as (
        select
            user_id,
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
                when quiet_days >= {{ var("lifecycle_lost_days") }}
                then 'lost'
                when quiet_days >= {{ var("lifecycle_dormant_days") }}
                then 'dormant'
                else 'active'
            end as activity_stage
        from measured
    )

select *
from final
