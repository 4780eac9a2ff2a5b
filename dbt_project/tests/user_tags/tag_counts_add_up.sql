{{ config(meta={"dagster": {"ref": {"name": "tag_coverage"}}}) }}
-- Every tag is evaluated for every user, nobody is lost, and user_tags holds exactly the users for whom a
-- tag is set.
with

    coverage as (select * from {{ ref("tag_coverage") }}),

    users as (select count(*) as users_count from {{ ref("user_wide") }}),

    set_tags as (select tag, count(*) as rows_count from {{ ref("user_tags") }} group by tag),

    final as (
        select
            coverage.tag,
            coverage.set_count,
            set_tags.rows_count,
            coverage.users_count,
            users.users_count as all_users
        from coverage
        cross join users
        left join set_tags on coverage.tag = set_tags.tag
        where
            coverage.set_count + coverage.not_set_count + coverage.not_evaluable_count <> coverage.users_count
            or coverage.users_count <> users.users_count
            or coverage.set_count <> coalesce(set_tags.rows_count, 0)
    )

select *
from final
