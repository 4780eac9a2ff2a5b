{{ config(meta={"dagster": {"ref": {"name": "user_lifecycle"}}}) }}
-- Every user of the wide table has one row with the same stages, each stage began by as_of and its end lies
-- ahead, and
-- stages fit what the user bought and did.
select coalesce(wide.user_id, stages.user_id) as user_id
from {{ ref("user_wide") }} as wide
full outer join {{ ref("user_lifecycle") }} as stages on wide.user_id = stages.user_id
where
    wide.user_id is null
    or stages.user_id is null
    or wide.lifecycle_stage <> stages.lifecycle_stage
    or wide.activity_stage <> stages.activity_stage
    or wide.first_seen_date <> stages.first_seen_date
    or stages.lifecycle_since_date > {{ as_of() }}
    or stages.activity_since_date > {{ as_of() }}
    or stages.next_activity_date <= {{ as_of() }}
    or (stages.activity_stage = 'lost') <> (stages.next_activity_date is null)
    or (stages.activity_stage = 'active') <> (stages.activity_since_date is null)
    or (stages.lifecycle_stage like 'new%') <> (stages.old_from_date > {{ as_of() }})
    or (stages.lifecycle_stage like '%unbought') <> (stages.first_order_date is null)
    or (stages.lifecycle_stage = 'old_repurchased')
    <> (stages.second_order_date is not null and stages.old_from_date <= {{ as_of() }})
    or (stages.activity_stage in ('dormant', 'lost'))
    <> (stages.activity_stage <> 'new' and stages.quiet_days >= {{ var("lifecycle_dormant_days") }})
    or (stages.activity_stage = 'lost')
    <> (stages.activity_stage <> 'new' and stages.quiet_days >= {{ var("lifecycle_lost_days") }})
