-- No audience has more members than its limit, and none is left of one that has expired.
with

    members as (
        select audience, count(*) as members_count from {{ ref("audience_members") }} group by audience
    ),

    definitions as (select * from {{ ref("audience_definitions") }}),

    final as (
        select members.audience, members.members_count
        from members
        inner join definitions on members.audience = definitions.audience
        where members.members_count > definitions.user_limit or definitions.expires_on < {{ as_of() }}
    )

select *
from final
