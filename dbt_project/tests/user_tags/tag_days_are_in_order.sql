{{ config(meta={"dagster": {"ref": {"name": "user_tags"}}}) }}
-- First set, last confirmed, expires: in this order, and a tag that is set has not expired.
with

    user_tags as (select * from {{ ref("user_tags") }}),

    final as (
        select user_id, tag
        from user_tags
        where
            first_set_at > last_confirmed_at
            or last_confirmed_at > {{ day_start(as_of()) }}
            or expires_at <= {{ day_start(as_of()) }}
    )

select *
from final
