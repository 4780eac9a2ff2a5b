{{ config(meta={"dagster": {"ref": {"name": "user_service_assignment"}}}) }}
-- Everybody is assigned once, and is in one group of each kind; who is assigned has the persona of the rule.
with

    users as (select user_id from {{ ref("user_wide") }}),

    assigned as (select * from {{ ref("user_service_assignment") }}),

    grouped as (select user_id from {{ ref("user_groups") }}),

    staff as (select * from {{ ref("stg_raw__staff") }}),

    final as (
        select users.user_id
        from users
        left join assigned on users.user_id = assigned.user_id
        left join grouped on users.user_id = grouped.user_id
        left join staff on assigned.staff_id = staff.staff_id
        where
            assigned.user_id is null
            or grouped.user_id is null
            or (assigned.staff_id is not null and assigned.persona <> staff.persona)
    )

select *
from final
