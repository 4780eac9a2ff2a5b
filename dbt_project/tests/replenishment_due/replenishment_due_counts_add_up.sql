{{ config(meta={"dagster": {"ref": {"name": "replenishment_due"}}}) }}
-- Ranks run from 1 without a gap, money falls along them, and the wide table counts the same rows.
with

    due as (select * from {{ ref("replenishment_due") }}),

    totals as (select count(*) as due_count, max(due_rank) as last_rank from due),

    wide as (select coalesce(sum(replenishment_due_count), 0) as due_count from {{ ref("user_wide") }}),

    followed as (
        select priority_amount, lag(priority_amount) over (order by due_rank asc nulls last) as better_amount
        from due
    )

select 'counts' as problem
from totals
cross join wide
where totals.due_count <> coalesce(totals.last_rank, 0) or totals.due_count <> wide.due_count
union all
select 'order' as problem
from followed
where priority_amount > better_amount
