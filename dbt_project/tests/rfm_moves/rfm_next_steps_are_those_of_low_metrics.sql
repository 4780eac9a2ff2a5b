{{ config(meta={"dagster": {"ref": {"name": "rfm_next_step"}}}) }}
-- A buyer has a step for each metric that is low, and it leads out of the buyer's cell.
with

    steps as (select * from {{ ref("rfm_next_step") }}),

    lows as (
        select
            user_id,
            cell,
            case when r_high then 0 else 1 end
            + case when f_high then 0 else 1 end
            + case when m_high then 0 else 1 end as low_count
        from {{ ref("rfm_segments") }}
    ),

    counted as (
        select
            user_id,
            count(*) as steps_count,
            max(step_rank) as last_rank,
            count(*) filter (where to_cell = cell or (is_reachable and not gap > 0)) as wrong_count
        from steps
        group by user_id
    ),

    final as (
        select lows.user_id
        from lows
        left join counted on lows.user_id = counted.user_id
        where
            lows.low_count <> coalesce(counted.steps_count, 0)
            or coalesce(counted.last_rank, 0) <> lows.low_count
            or counted.wrong_count > 0
    )

select *
from final
