{{ config(meta={"dagster": {"ref": {"name": "audience_members"}}}) }}
-- Every audience is declared, has no more members than its limit, and none after its last day.
with

    members as (
        select audience, count(*) as members_count from {{ ref("audience_members") }} group by audience
    ),

    definitions as (select * from {{ ref("audience_definitions") }}),

    final as (
        select members.audience, members.members_count
        from members
        left join definitions on members.audience = definitions.audience
        where
            definitions.audience is null
            or members.members_count > definitions.user_limit
            or definitions.expires_on < {{ as_of() }}
    )

select *
from final
