{%- set parts = [
    "money",
    "frequency",
    "recency",
    "activity",
    "content",
    "response",
    "relation",
    "advocacy",
] -%}
with

    users as (select user_id from {{ ref("int_identity__users") }}),

    spending as (select * from {{ ref("int_users__spending") }}),

    behaviour as (select * from {{ ref("int_users__behaviour") }}),

    response as (select * from {{ ref("int_users__response") }}),

    relation as (select * from {{ ref("int_users__relation") }}),

    profile as (select * from {{ ref("int_users__profile") }}),

    referrals as (select * from {{ ref("int_users__referrals") }}),

    score_parts as (select * from {{ ref("score_parts") }}),

    measured as (
        select
            users.user_id,
            spending.net_amount_365d as money,
            spending.orders_count_365d as frequency,
            -- Days counted up, so that more is better.
            {{ days_between("cast('1970-01-01' as date)", "spending.last_order_date") }} as recency,
            behaviour.active_days_90d as activity,
            coalesce(behaviour.reads_count_30d, 0)
            + coalesce(behaviour.lives_count_90d, 0)
            + coalesce(behaviour.shares_count_90d, 0)
            + coalesce(behaviour.votes_count_90d, 0)
            + coalesce(behaviour.comments_count_90d, 0)
            + coalesce(behaviour.likes_count_90d, 0) as content,
            coalesce(response.touches_clicked_count_90d, 0)
            + coalesce(response.touches_replied_count_90d, 0) as response,
            case when relation.is_contact then 1 else 0 end
            + case when relation.group_count > 0 then 1 else 0 end
            + case when profile.is_member then 1 else 0 end as relation,
            referrals.invited_joined_count as advocacy
        from users
        left join spending on users.user_id = spending.user_id
        left join behaviour on users.user_id = behaviour.user_id
        left join response on users.user_id = response.user_id
        left join relation on users.user_id = relation.user_id
        left join profile on users.user_id = profile.user_id
        left join referrals on users.user_id = referrals.user_id
    ),

    {%- for part in parts %} {{ part }}_ladder as ({{ share_ladder("measured", part) }}), {%- endfor %}

    -- The share of those with anything who do not have more, of the part's points; in hundredths, downwards.
    {%- for part in parts %}

        {{ part }}_points as (
            select
                ladder.value,
                {{
                    integer_divide(
                        "100 * score_parts.points * (ladder.users_total - ladder.users_above)",
                        "ladder.users_total",
                    )
                }} as hundredths
            from {{ part }}_ladder as ladder
            inner join score_parts on score_parts.part = '{{ part }}'
        ),
    {%- endfor %}

    pointed as (
        select
            measured.user_id,
            {%- for part in parts %}
                cast(coalesce({{ part }}_points.hundredths, 0) as bigint) as {{ part }}
                {%- if not loop.last %},{% endif %}
            {%- endfor %}
        from measured
        {%- for part in parts %}
            left join {{ part }}_points on measured.{{ part }} = {{ part }}_points.value
        {%- endfor %}
    ),

    final as (
        select
            cast(user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(({{ parts | join(" + ") }}) * cast(0.01 as decimal(4, 2)) as decimal(9, 2)) as score,
            {%- for part in parts %}
                cast({{ part }} * cast(0.01 as decimal(4, 2)) as decimal(9, 2)) as {{ part }}_points
                {%- if not loop.last %},{% endif %}
            {%- endfor %}
        from pointed
    )

select *
from final
