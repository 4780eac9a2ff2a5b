{{ config(meta={"dagster": {"ref": {"name": "contact_policy_decisions"}}}) }}
-- Every member of the audience of every line has one decision; what one run allows a user stays within each
-- cap; what lost by its priority lost to a line that is allowed for the same user.
with

    decisions as (select * from {{ ref("contact_policy_decisions") }}),

    lines as (
        select activation, audience, lower(trim(purpose)) as purpose, lower(trim(channel)) as channel
        from {{ ref("catalog_activations") }}
    ),

    members as (select * from {{ ref("audience_members") }}),

    caps as (select * from {{ ref("contact_caps") }} where max_sends is not null),

    rules as (select * from {{ ref("contact_rules") }}),

    wished as (
        select lines.activation, members.user_id
        from lines
        inner join members on lines.audience = members.audience
    ),

    unanswered as (
        select
            coalesce(wished.activation, decisions.activation) as activation,
            coalesce(wished.user_id, decisions.user_id) as user_id,
            'no decision, or no wish' as problem
        from wished
        full outer join
            decisions on wished.activation = decisions.activation and wished.user_id = decisions.user_id
        where wished.activation is null or decisions.activation is null
    ),

    allowed as (
        select decisions.*
        from decisions
        where
            decisions.is_allowed
            and decisions.channel not in (select channel from rules where not disturbs and channel <> '*')
    ),

    crowded as (
        select min(allowed.activation) as activation, allowed.user_id, 'more than ' || caps.cap as problem
        from allowed
        inner join
            caps
            on caps.channel in (allowed.channel, '*')
            and (caps.purpose = allowed.purpose or caps.purpose = '*')
        group by allowed.user_id, caps.cap, caps.max_sends
        having count(*) > caps.max_sends
    ),

    beaten as (
        select decisions.activation, decisions.user_id, 'beaten by nobody' as problem
        from decisions
        left join allowed on decisions.user_id = allowed.user_id and decisions.beaten_by = allowed.activation
        where (decisions.rule = 'priority') <> (allowed.activation is not null)
    ),

    final as (
        select *
        from unanswered
        union all
        select *
        from crowded
        union all
        select *
        from beaten
    )

select *
from final
