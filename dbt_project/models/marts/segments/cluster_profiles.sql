{#- What is averaged: name: (column of user_wide, digits shown, Chinese, English). Missing counts as 0 where that is what it means. -#}
{%- set averages = {
    "active_days_90d": ("active_days_90d", "近90天活跃天数", "active days in 90 days"),
    "views_90d": ("views_count_90d", "近90天浏览", "views in 90 days"),
    "searches_90d": ("searches_count_90d", "近90天搜索", "searches in 90 days"),
    "carts_30d": ("carts_count_30d", "近30天加购", "carts in 30 days"),
    "reads_30d": ("reads_count_30d", "近30天阅读", "reads in 30 days"),
    "lives_90d": ("lives_count_90d", "近90天看直播", "live rooms in 90 days"),
    "shares_90d": ("shares_count_90d", "近90天分享", "shares in 90 days"),
    "clicks_90d": (
        "touches_clicked_count_90d",
        "近90天点击消息",
        "clicks on messages in 90 days",
    ),
    "orders_365d": ("orders_count_365d", "近一年订单数", "orders in 365 days"),
    "net_amount_365d": ("net_amount_365d", "近一年消费", "money in 365 days"),
    "order_amount": ("average_order_amount", "客单价", "money per order"),
    "discount_share": ("discount_share", "折扣占比", "share of discounts"),
    "categories": ("categories_count", "购买品类数", "categories bought"),
    "invited": ("invited_joined_count", "带来新客", "invited people who joined"),
    "is_member": ("case when is_member then 1 else 0 end", "会员占比", "share of members"),
    "is_contact": ("case when is_contact then 1 else 0 end", "好友占比", "share of contacts"),
} -%}
{%- set shares = {
    "top_category": "主要品类",
    "gender": "性别",
    "age_band": "年龄段",
    "acquisition_channel": "获客渠道",
    "rfm_cell": "RFM分层",
} -%}
with

    users as (select * from {{ ref("user_wide") }} where behaviour_cluster is not null),

    archetypes as (select * from {{ ref("cluster_archetypes") }}),

    totals as (
        select
            count(*) as users,
            coalesce(sum(net_amount_365d), 0) as net_amount
            {%- for name, (column, zh, en) in averages.items() %}
                ,
                cast(sum({{ column }}) as decimal(38, 6)) as {{ name }}_sum,
                count({{ column }}) as {{ name }}_count
            {%- endfor %}
        from users
    ),

    clusters as (
        select
            behaviour_cluster as cluster,
            count(*) as users,
            coalesce(sum(net_amount_365d), 0) as net_amount
            {%- for name, (column, zh, en) in averages.items() %}
                ,
                cast(sum({{ column }}) as decimal(38, 6)) as {{ name }}_sum,
                count({{ column }}) as {{ name }}_count
            {%- endfor %}
        from users
        group by behaviour_cluster
    ),

    profiled as (
        {%- for name, (column, zh, en) in averages.items() %}
            select
                clusters.cluster,
                'average' as kind,
                '{{ name }}' as feature,
                '' as value,
                '{{ zh }}' as feature_zh,
                '{{ en }}' as feature_en,
                cast(clusters.{{ name }}_sum as double)
                / nullif(clusters.{{ name }}_count, 0) as cluster_value,
                cast(totals.{{ name }}_sum as double) / nullif(totals.{{ name }}_count, 0) as base_value
            from clusters
            cross join totals
            union all
        {%- endfor %}
        {%- for column, zh in shares.items() %}
            select
                counted.cluster,
                'share' as kind,
                '{{ column }}' as feature,
                counted.value,
                '{{ zh }}：' || counted.value as feature_zh,
                '{{ column | replace("_", " ") }} ' || counted.value as feature_en,
                cast(counted.users as double) / clusters.users as cluster_value,
                cast(counted.base_users as double) / totals.users as base_value
            from
                (
                    select
                        behaviour_cluster as cluster,
                        {{ column }} as value,
                        count(*) as users,
                        sum(count(*)) over (partition by {{ column }}) as base_users
                    from users
                    where {{ column }} is not null
                    group by behaviour_cluster, {{ column }}
                ) as counted
            inner join clusters on counted.cluster = clusters.cluster
            cross join totals
            {%- if not loop.last %}
                union all
            {%- endif %}
        {%- endfor %}
    ),

    indexed as (
        select
            profiled.*,
            clusters.users,
            cast(clusters.users as double) / totals.users as users_share,
            cast(clusters.net_amount as double)
            / nullif(cast(totals.net_amount as double), 0) as revenue_share,
            cast(100 * cluster_value / nullif(base_value, 0) as decimal(18, 1)) as index_value
        from profiled
        inner join clusters on profiled.cluster = clusters.cluster
        cross join totals
    ),

    ranked as (
        select
            *,
            row_number() over (
                partition by cluster, kind
                order by index_value desc nulls last, feature asc nulls last, value asc nulls last
            ) as index_rank
        from indexed
    ),

    final as (
        select
            cast(archetypes.cluster as varchar) as cluster,
            cast(archetypes.title_zh as varchar) as cluster_zh,
            cast(archetypes.title_en as varchar) as cluster_en,
            cast({{ as_of() }} as date) as as_of_date,
            cast(ranked.users as bigint) as users,
            cast(ranked.users_share as decimal(9, 6)) as users_share,
            cast(ranked.revenue_share as decimal(18, 6)) as revenue_share,
            cast(ranked.kind as varchar) as kind,
            cast(ranked.feature as varchar) as feature,
            cast(ranked.value as varchar) as value,
            cast(ranked.cluster_value as decimal(18, 4)) as cluster_value,
            cast(ranked.base_value as decimal(18, 4)) as base_value,
            cast(ranked.index_value as decimal(18, 1)) as index_value,
            cast(ranked.index_rank as integer) as index_rank,
            cast(
                ranked.feature_zh
                || ' '
                || cast(cast(ranked.cluster_value as decimal(18, 2)) as varchar)
                || '，指数 '
                || cast(cast(ranked.index_value as bigint) as varchar) as varchar
            ) as reading_zh,
            cast(
                ranked.feature_en
                || ' '
                || cast(cast(ranked.cluster_value as decimal(18, 2)) as varchar)
                || ', index '
                || cast(cast(ranked.index_value as bigint) as varchar) as varchar
            ) as reading_en,
            cast(archetypes.advice_zh as varchar) as advice_zh,
            cast(archetypes.advice_en as varchar) as advice_en
        from ranked
        inner join archetypes on ranked.cluster = archetypes.cluster
        where ranked.index_value is not null
    )

select *
from final
