with

    staged as (select * from {{ ref("int_users__stages") }}),

    stages as (select * from {{ ref("lifecycle_stages") }}),

    final as (
        select
            cast(staged.user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(staged.lifecycle_stage as {{ dbt.type_string() }}) as lifecycle_stage,
            cast(lifecycles.title_zh as {{ dbt.type_string() }}) as lifecycle_stage_zh,
            cast(lifecycles.title_en as {{ dbt.type_string() }}) as lifecycle_stage_en,
            cast(staged.lifecycle_since_date as date) as lifecycle_since_date,
            cast(staged.activity_stage as {{ dbt.type_string() }}) as activity_stage,
            cast(activities.title_zh as {{ dbt.type_string() }}) as activity_stage_zh,
            cast(activities.title_en as {{ dbt.type_string() }}) as activity_stage_en,
            cast(staged.activity_since_date as date) as activity_since_date,
            cast(staged.first_seen_date as date) as first_seen_date,
            cast(staged.old_from_date as date) as old_from_date,
            cast(staged.first_order_date as date) as first_order_date,
            cast(staged.second_order_date as date) as second_order_date,
            cast(staged.last_active_date as date) as last_active_date,
            cast(staged.quiet_days as integer) as quiet_days,
            cast(staged.next_activity_stage as {{ dbt.type_string() }}) as next_activity_stage,
            cast(staged.next_activity_date as date) as next_activity_date
        from staged
        left join
            stages as lifecycles
            on lifecycles.kind = 'lifecycle'
            and staged.lifecycle_stage = lifecycles.stage
        left join
            stages as activities on activities.kind = 'activity' and staged.activity_stage = activities.stage
    )

select *
from final
