{%- set features = cluster_features() -%}
with

    users as (select user_id from {{ ref("int_identity__users") }}),

    spending as (select * from {{ ref("int_users__spending") }}),

    behaviour as (select * from {{ ref("int_users__behaviour") }}),

    measured as (
        select
            users.user_id,
            behaviour.active_days_90d as activity,
            coalesce(behaviour.views_count_90d, 0) + coalesce(behaviour.searches_count_90d, 0) as browsing,
            coalesce(behaviour.reads_count_30d, 0)
            + coalesce(behaviour.lives_count_90d, 0)
            + coalesce(behaviour.shares_count_90d, 0)
            + coalesce(behaviour.votes_count_90d, 0)
            + coalesce(behaviour.comments_count_90d, 0)
            + coalesce(behaviour.likes_count_90d, 0) as content,
            spending.orders_count_365d as orders,
            case
                when spending.orders_count_365d > 0 then cast(spending.average_order_amount as decimal(18, 2))
            end as basket,
            case
                when spending.orders_count_365d > 0 then cast(spending.discount_share as decimal(9, 4))
            end as discount,
            case when spending.orders_count_365d > 0 then spending.categories_count end as breadth
        from users
        left join spending on users.user_id = spending.user_id
        left join behaviour on users.user_id = behaviour.user_id
    ),

    {%- for feature in features %}
        {{ feature }}_ladder as ({{ share_ladder("measured", feature) }}),
    {%- endfor %}

    -- 0 for none of it, else the thousandths of those with any who do not have more.
    final as (
        select
            measured.user_id,
            {%- for feature in features %}
                cast(
                    coalesce(
                        {{
                            integer_divide(
                                "1000 * ("
                                ~ feature
                                ~ "_ladder.users_total - "
                                ~ feature
                                ~ "_ladder.users_above)",
                                feature ~ "_ladder.users_total",
                            )
                        }},
                        0
                    ) as bigint
                ) as {{ feature }}
                {%- if not loop.last %},{% endif %}
            {%- endfor %}
        from measured
        {%- for feature in features %}
            left join {{ feature }}_ladder on measured.{{ feature }} = {{ feature }}_ladder.value
        {%- endfor %}
    )

select *
from final
