{{ config(meta={"dagster": {"ref": {"name": "audience_members"}}}) }}
-- Members are exactly today's candidates who are not left out, once each, entered inside the window.
with

    members as (select * from {{ ref("audience_members") }}),

    candidates as (select * from {{ ref("int_audiences__candidates") }} where is_member),

    final as (
        select
            coalesce(members.audience, candidates.audience) as audience,
            coalesce(members.user_id, candidates.user_id) as user_id
        from members
        full outer join
            candidates on members.audience = candidates.audience and members.user_id = candidates.user_id
        where
            members.user_id is null
            or candidates.user_id is null
            or members.entered_date > members.as_of_date
            or members.entered_date < {{ add_days(as_of(), 1 - var("history_days")) }}
    )

select *
from final
