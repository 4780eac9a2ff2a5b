{{ config(meta={"parts_of": "int_identity__users"}) }}

with

    users as (select * from {{ ref("int_identity__users") }} where {{ in_part("user_id") }}),

    profile as (select * from {{ ref("int_users__profile") }} where {{ in_part("user_id") }}),

    acquisition as (select * from {{ ref("int_users__acquisition") }} where {{ in_part("user_id") }}),

    relation as (select * from {{ ref("int_users__relation") }} where {{ in_part("user_id") }}),

    behaviour as (select * from {{ ref("int_users__behaviour") }} where {{ in_part("user_id") }}),

    spending as (select * from {{ ref("int_users__spending") }} where {{ in_part("user_id") }}),

    order_cycles as (select * from {{ ref("user_order_cycle") }} where {{ in_part("user_id") }}),

    replenishments as (
        select user_id, count(*) as due_count
        from {{ ref("replenishment_due") }}
        where {{ in_part("user_id") }}
        group by user_id
    ),

    response as (select * from {{ ref("int_users__response") }} where {{ in_part("user_id") }}),

    best_time as (select * from {{ ref("int_users__best_time") }} where {{ in_part("user_id") }}),

    referrals as (select * from {{ ref("int_users__referrals") }} where {{ in_part("user_id") }}),

    stages as (select * from {{ ref("int_users__stages") }} where {{ in_part("user_id") }}),

    scores as (select * from {{ ref("int_rfm__scores") }} where {{ in_part("user_id") }}),

    aipl as (select * from {{ ref("user_aipl") }} where {{ in_part("user_id") }}),

    points as (select * from {{ ref("user_scores") }} where {{ in_part("user_id") }}),

    layers as (select * from {{ ref("user_layers") }} where {{ in_part("user_id") }}),

    clusters as (select * from {{ ref("user_clusters") }} where {{ in_part("user_id") }}),

    next_categories as (
        select * from {{ ref("int_cycles__next_categories") }} where {{ in_part("user_id") }} and not is_test
    ),

    final as (
        select
            cast(users.user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            -- who
            cast({{ business_date("users.first_seen_at") }} as date) as first_seen_date,
            cast({{ business_date("users.last_seen_at") }} as date) as last_seen_date,
            cast(coalesce(users.identifier_count, 0) as bigint) as identifier_count,
            cast(profile.gender as {{ dbt.type_string() }}) as gender,
            cast(profile.age_band as {{ dbt.type_string() }}) as age_band,
            cast(profile.birth_month as integer) as birth_month,
            cast(coalesce(profile.is_birthday_week, false) as boolean) as is_birthday_week,
            cast(profile.income_band as {{ dbt.type_string() }}) as income_band,
            cast(profile.household_size as {{ dbt.type_string() }}) as household_size,
            cast(profile.children_count as {{ dbt.type_string() }}) as children_count,
            cast(profile.country as {{ dbt.type_string() }}) as country,
            cast(profile.province as {{ dbt.type_string() }}) as province,
            cast(profile.city as {{ dbt.type_string() }}) as city,
            cast(profile.industry as {{ dbt.type_string() }}) as industry,
            cast(coalesce(profile.is_member, false) as boolean) as is_member,
            cast(profile.member_level as {{ dbt.type_string() }}) as member_level,
            cast(profile.member_registered_date as date) as member_registered_date,
            cast(profile.member_channel as {{ dbt.type_string() }}) as member_channel,
            -- acquired
            cast(acquisition.acquisition_date as date) as acquisition_date,
            cast(acquisition.acquisition_channel as {{ dbt.type_string() }}) as acquisition_channel,
            cast(acquisition.acquisition_state_code as {{ dbt.type_string() }}) as acquisition_state_code,
            cast(acquisition.acquisition_campaign_id as {{ dbt.type_string() }}) as acquisition_campaign_id,
            cast(acquisition.acquisition_cost as decimal(18, 4)) as acquisition_cost,
            cast(coalesce(acquisition.is_invited, false) as boolean) as is_invited,
            cast(acquisition.inviter_user_id as {{ dbt.type_string() }}) as inviter_user_id,
            -- relation
            cast(relation.is_contact as boolean) as is_contact,
            cast(relation.contact_added_date as date) as contact_added_date,
            cast(relation.days_since_contact_added as integer) as days_since_contact_added,
            cast(relation.contact_deleted_date as date) as contact_deleted_date,
            cast(relation.contact_days as integer) as contact_days,
            cast(relation.is_contact_deleted_within_1d as boolean) as is_contact_deleted_within_1d,
            cast(relation.is_contact_deleted_within_7d as boolean) as is_contact_deleted_within_7d,
            cast(relation.is_contact_deleted_within_30d as boolean) as is_contact_deleted_within_30d,
            cast(relation.is_contact_deleted as boolean) as is_contact_deleted,
            cast(relation.is_blocked as boolean) as is_blocked,
            cast(coalesce(relation.staff_count, 0) as bigint) as staff_count,
            cast(relation.primary_staff_id as {{ dbt.type_string() }}) as primary_staff_id,
            cast(coalesce(relation.group_count, 0) as bigint) as group_count,
            cast(relation.has_phone as boolean) as has_phone,
            cast(relation.has_email as boolean) as has_email,
            cast(relation.has_unionid as boolean) as has_unionid,
            cast(relation.is_marketing_consented as boolean) as is_marketing_consented,
            cast(relation.is_marketing_withdrawn as boolean) as is_marketing_withdrawn,
            cast(relation.is_sms_consented as boolean) as is_sms_consented,
            cast(relation.is_wecom_consented as boolean) as is_wecom_consented,
            -- behaviour
            cast(behaviour.last_active_date as date) as last_active_date,
            cast(behaviour.days_since_active as integer) as days_since_active,
            cast(coalesce(behaviour.active_days_7d, 0) as bigint) as active_days_7d,
            cast(coalesce(behaviour.active_days_30d, 0) as bigint) as active_days_30d,
            cast(coalesce(behaviour.active_days_90d, 0) as bigint) as active_days_90d,
            cast(coalesce(behaviour.events_count_30d, 0) as bigint) as events_count_30d,
            cast(coalesce(behaviour.views_count_7d, 0) as bigint) as views_count_7d,
            cast(coalesce(behaviour.views_count_30d, 0) as bigint) as views_count_30d,
            cast(coalesce(behaviour.views_count_90d, 0) as bigint) as views_count_90d,
            cast(coalesce(behaviour.searches_count_7d, 0) as bigint) as searches_count_7d,
            cast(coalesce(behaviour.searches_count_30d, 0) as bigint) as searches_count_30d,
            cast(coalesce(behaviour.searches_count_90d, 0) as bigint) as searches_count_90d,
            cast(coalesce(behaviour.carts_count_7d, 0) as bigint) as carts_count_7d,
            cast(coalesce(behaviour.carts_count_30d, 0) as bigint) as carts_count_30d,
            cast(behaviour.last_cart_at as timestamp) as last_cart_at,
            cast(coalesce(behaviour.has_open_cart, false) as boolean) as has_open_cart,
            cast(coalesce(behaviour.favourites_count_30d, 0) as bigint) as favourites_count_30d,
            cast(coalesce(behaviour.favourites_count_90d, 0) as bigint) as favourites_count_90d,
            cast(coalesce(behaviour.shares_count_30d, 0) as bigint) as shares_count_30d,
            cast(coalesce(behaviour.shares_count_90d, 0) as bigint) as shares_count_90d,
            cast(coalesce(behaviour.votes_count_90d, 0) as bigint) as votes_count_90d,
            cast(coalesce(behaviour.comments_count_90d, 0) as bigint) as comments_count_90d,
            cast(coalesce(behaviour.likes_count_90d, 0) as bigint) as likes_count_90d,
            cast(coalesce(behaviour.reads_count_30d, 0) as bigint) as reads_count_30d,
            cast(coalesce(behaviour.lives_count_30d, 0) as bigint) as lives_count_30d,
            cast(coalesce(behaviour.lives_count_90d, 0) as bigint) as lives_count_90d,
            cast(coalesce(behaviour.surveys_count, 0) as bigint) as surveys_count,
            cast(coalesce(behaviour.sessions_count_30d, 0) as bigint) as sessions_count_30d,
            cast(behaviour.top_touchpoint_90d as {{ dbt.type_string() }}) as top_touchpoint_90d,
            cast(behaviour.usual_hour as integer) as usual_hour,
            cast(behaviour.usual_weekday as integer) as usual_weekday,
            -- spending
            cast(spending.first_order_date as date) as first_order_date,
            cast(spending.last_order_date as date) as last_order_date,
            cast(spending.days_since_order as integer) as days_since_order,
            cast(coalesce(spending.orders_count, 0) as bigint) as orders_count,
            cast(coalesce(spending.orders_count_30d, 0) as bigint) as orders_count_30d,
            cast(coalesce(spending.orders_count_90d, 0) as bigint) as orders_count_90d,
            cast(coalesce(spending.orders_count_365d, 0) as bigint) as orders_count_365d,
            cast(coalesce(spending.order_days_count, 0) as bigint) as order_days_count,
            cast(coalesce(spending.gross_amount, 0) as decimal(18, 4)) as gross_amount,
            cast(coalesce(spending.refund_amount, 0) as decimal(18, 4)) as refund_amount,
            cast(coalesce(spending.net_amount, 0) as decimal(18, 4)) as net_amount,
            cast(coalesce(spending.net_amount_365d, 0) as decimal(18, 4)) as net_amount_365d,
            cast(spending.average_order_amount as decimal(18, 4)) as average_order_amount,
            cast(coalesce(spending.discount_amount, 0) as decimal(18, 4)) as discount_amount,
            cast(spending.discount_share as decimal(9, 6)) as discount_share,
            cast(coalesce(spending.items_count, 0) as decimal(18, 4)) as items_count,
            cast(coalesce(spending.categories_count, 0) as bigint) as categories_count,
            cast(spending.top_category as {{ dbt.type_string() }}) as top_category,
            cast(spending.top_brand as {{ dbt.type_string() }}) as top_brand,
            cast(spending.top_style as {{ dbt.type_string() }}) as top_style,
            cast(spending.top_channel as {{ dbt.type_string() }}) as top_channel,
            cast(order_cycles.expected_interval_days as integer) as purchase_interval_days,
            cast(order_cycles.expected_next_date as date) as next_order_expected_date,
            cast(order_cycles.overdue_ratio as decimal(9, 4)) as order_overdue_ratio,
            cast(coalesce(replenishments.due_count, 0) as bigint) as replenishment_due_count,
            cast(coalesce(spending.coupons_available_count, 0) as bigint) as coupons_available_count,
            cast(coalesce(spending.coupons_used_count, 0) as bigint) as coupons_used_count,
            -- response
            cast(response.last_touch_sent_date as date) as last_touch_sent_date,
            cast(coalesce(response.touches_sent_count_7d, 0) as bigint) as touches_sent_count_7d,
            cast(coalesce(response.touches_sent_count_30d, 0) as bigint) as touches_sent_count_30d,
            cast(coalesce(response.touches_sent_count_90d, 0) as bigint) as touches_sent_count_90d,
            cast(coalesce(response.touches_delivered_count_7d, 0) as bigint) as touches_delivered_count_7d,
            cast(coalesce(response.touches_delivered_count_30d, 0) as bigint) as touches_delivered_count_30d,
            cast(coalesce(response.touches_delivered_count_90d, 0) as bigint) as touches_delivered_count_90d,
            cast(coalesce(response.touches_opened_count_7d, 0) as bigint) as touches_opened_count_7d,
            cast(coalesce(response.touches_opened_count_30d, 0) as bigint) as touches_opened_count_30d,
            cast(coalesce(response.touches_opened_count_90d, 0) as bigint) as touches_opened_count_90d,
            cast(coalesce(response.touches_clicked_count_7d, 0) as bigint) as touches_clicked_count_7d,
            cast(coalesce(response.touches_clicked_count_30d, 0) as bigint) as touches_clicked_count_30d,
            cast(coalesce(response.touches_clicked_count_90d, 0) as bigint) as touches_clicked_count_90d,
            cast(coalesce(response.touches_replied_count_7d, 0) as bigint) as touches_replied_count_7d,
            cast(coalesce(response.touches_replied_count_30d, 0) as bigint) as touches_replied_count_30d,
            cast(coalesce(response.touches_replied_count_90d, 0) as bigint) as touches_replied_count_90d,
            cast(
                coalesce(response.touches_unsubscribed_count_7d, 0) as bigint
            ) as touches_unsubscribed_count_7d,
            cast(
                coalesce(response.touches_unsubscribed_count_30d, 0) as bigint
            ) as touches_unsubscribed_count_30d,
            cast(
                coalesce(response.touches_unsubscribed_count_90d, 0) as bigint
            ) as touches_unsubscribed_count_90d,
            cast(response.open_rate_90d as decimal(9, 6)) as open_rate_90d,
            cast(response.click_rate_90d as decimal(9, 6)) as click_rate_90d,
            cast(best_time.best_hour as integer) as best_hour,
            cast(best_time.best_channel as {{ dbt.type_string() }}) as best_channel,
            -- referral and leads
            cast(coalesce(referrals.invited_count, 0) as bigint) as invited_count,
            cast(coalesce(referrals.invited_joined_count, 0) as bigint) as invited_joined_count,
            cast(coalesce(referrals.leads_count, 0) as bigint) as leads_count,
            cast(referrals.last_lead_created_date as date) as last_lead_created_date,
            cast(coalesce(referrals.is_lead_won, false) as boolean) as is_lead_won,
            -- stage
            cast(stages.lifecycle_stage as {{ dbt.type_string() }}) as lifecycle_stage,
            cast(stages.activity_stage as {{ dbt.type_string() }}) as activity_stage,
            cast(coalesce(scores.cell, 'no_order') as {{ dbt.type_string() }}) as rfm_cell,
            cast(scores.r_score as integer) as r_score,
            cast(scores.f_score as integer) as f_score,
            cast(scores.m_score as integer) as m_score,
            cast(aipl.aipl_stage as {{ dbt.type_string() }}) as aipl_stage,
            cast(aipl.since_date as date) as aipl_since_date,
            cast(points.score as decimal(9, 2)) as score,
            cast(layers.value_layer as {{ dbt.type_string() }}) as value_layer,
            cast(layers.revenue_layer as {{ dbt.type_string() }}) as revenue_layer,
            cast(layers.engagement_layer as {{ dbt.type_string() }}) as engagement_layer,
            cast(clusters.cluster as {{ dbt.type_string() }}) as behaviour_cluster,
            cast(next_categories.next_category as {{ dbt.type_string() }}) as next_category,
            cast(next_categories.next_category_share as decimal(9, 2)) as next_category_share
        from users
        left join profile on users.user_id = profile.user_id
        left join acquisition on users.user_id = acquisition.user_id
        left join relation on users.user_id = relation.user_id
        left join behaviour on users.user_id = behaviour.user_id
        left join spending on users.user_id = spending.user_id
        left join order_cycles on users.user_id = order_cycles.user_id
        left join replenishments on users.user_id = replenishments.user_id
        left join response on users.user_id = response.user_id
        left join best_time on users.user_id = best_time.user_id
        left join referrals on users.user_id = referrals.user_id
        left join stages on users.user_id = stages.user_id
        left join scores on users.user_id = scores.user_id
        left join aipl on users.user_id = aipl.user_id
        left join points on users.user_id = points.user_id
        left join layers on users.user_id = layers.user_id
        left join clusters on users.user_id = clusters.user_id
        left join next_categories on users.user_id = next_categories.user_id
    )

select *
from final
