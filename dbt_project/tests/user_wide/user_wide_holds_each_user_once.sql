{{ config(meta={"dagster": {"ref": {"name": "user_wide"}}}) }}
-- The wide table has exactly the users of the identity layer.
select coalesce(wide.user_id, users.user_id) as user_id
from {{ ref("user_wide") }} as wide
full outer join {{ ref("int_identity__users") }} as users on wide.user_id = users.user_id
where wide.user_id is null or users.user_id is null
