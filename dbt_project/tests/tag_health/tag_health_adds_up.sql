{{ config(meta={"dagster": {"ref": {"name": "tag_health"}}}) }}
-- Everybody of the earlier day had a tag or not; what came and went since leads from then to now for tags
-- whose
-- users are the same; rates lie between 0 and 1 and the lift inside its interval.
with

    health as (select * from {{ ref("tag_health") }}),

    value_counts as (select * from {{ ref("int_tags__value_counts") }}),

    users_then as (
        select tag, sum(users_count) as users_count
        from value_counts
        where as_of_date = compared_with_date
        group by tag
    ),

    final as (
        select health.tag
        from health
        left join users_then on health.tag = users_then.tag
        where
            health.carriers_count + health.others_count <> users_then.users_count
            or health.carriers_count + health.newly_set_count - health.lost_count <> health.set_count
            or not coalesce(health.coverage_rate between 0 and 1, true)
            or not coalesce(health.fresh_rate between 0 and 1, true)
            or not coalesce(health.lift between health.lift_low - 1e-9 and health.lift_high + 1e-9, true)
            or health.psi < 0
    )

select *
from final
