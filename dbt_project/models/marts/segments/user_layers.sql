with

    users as (select user_id from {{ ref("int_identity__users") }}),

    spending as (select user_id, net_amount_365d from {{ ref("int_users__spending") }}),

    behaviour as (select user_id, active_days_90d from {{ ref("int_users__behaviour") }}),

    profile as (select user_id, member_level from {{ ref("int_users__profile") }}),

    measured as (
        select
            users.user_id,
            profile.member_level,
            coalesce(spending.net_amount_365d, 0) as value_365d,
            cast(coalesce(behaviour.active_days_90d, 0) as bigint) as active_days_90d
        from users
        left join spending on users.user_id = spending.user_id
        left join behaviour on users.user_id = behaviour.user_id
        left join profile on users.user_id = profile.user_id
    ),

    values_ladder as ({{ share_ladder("measured", "value_365d") }}),

    engagement_ladder as ({{ share_ladder("measured", "active_days_90d") }}),

    -- In a layer is whoever is needed to fill it: those above have not reached its share yet. Equals stay
    -- together.
    {%- set tops = var("layers_value_tops") %}
    {%- set revenue = var("layers_revenue_shares") %}
    {%- set engagement = var("layers_engagement_shares") %}

    layered as (
        select
            measured.*,
            worth.users_above + 1 as value_rank,
            cast(worth.users_above as double) / worth.users_total as users_above_share,
            cast(worth.value_above as double) / cast(worth.value_total as double) as value_above_share,
            cast(engaged.value_above as double) / cast(engaged.value_total as double) as activity_above_share,
            case
                {%- for share, layer in [(tops[0], "top"), (tops[1], "high"), (tops[2], "middle")] %}
                    when 100 * worth.users_above < {{ share }} * worth.users_total then '{{ layer }}'
                {%- endfor %}
                when worth.users_above is not null
                then 'base'
                else 'none'
            end as value_layer,
            case
                {%- for share, layer in [(revenue[0], "first"), (revenue[1], "next")] %}
                    when 100 * worth.value_above < {{ share }} * worth.value_total then '{{ layer }}'
                {%- endfor %}
                when worth.value_above is not null
                then 'last'
                else 'none'
            end as revenue_layer,
            case
                {%- for share, layer in [(engagement[0], "core"), (engagement[1], "regular")] %}
                    when 100 * engaged.value_above < {{ share }} * engaged.value_total then '{{ layer }}'
                {%- endfor %}
                when engaged.value_above is not null
                then 'light'
                else 'quiet'
            end as engagement_layer
        from measured
        left join values_ladder as worth on measured.value_365d = worth.value
        left join engagement_ladder as engaged on measured.active_days_90d = engaged.value
    ),

    final as (
        select
            cast(user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(member_level as {{ dbt.type_string() }}) as member_level,
            cast(value_365d as decimal(18, 4)) as value_365d,
            cast(value_rank as bigint) as value_rank,
            cast(users_above_share as decimal(9, 6)) as users_above_share,
            cast(value_layer as {{ dbt.type_string() }}) as value_layer,
            cast(value_above_share as decimal(9, 6)) as value_above_share,
            cast(revenue_layer as {{ dbt.type_string() }}) as revenue_layer,
            cast(active_days_90d as bigint) as active_days_90d,
            cast(activity_above_share as decimal(9, 6)) as activity_above_share,
            cast(engagement_layer as {{ dbt.type_string() }}) as engagement_layer
        from layered
    )

select *
from final
