{{ config(meta={"dagster": {"ref": {"name": "user_purchase_cycle"}}}) }}
-- Days follow from each other, every purchase is in exactly one row, and estimates lie where they must: the
-- median is
-- one of the intervals, so no longer than all of them, and the mean is no shorter than the closed
-- intervals' own.
with

    cycles as (select * from {{ ref("user_purchase_cycle") }}),

    purchases as (
        select user_id, product_id, count(*) as purchases_count, sum(quantity) as quantity
        from {{ ref("int_cycles__purchases") }}
        group by user_id, product_id
    )

select coalesce(cycles.user_id, purchases.user_id) as user_id
from cycles
full outer join purchases on cycles.user_id = purchases.user_id and cycles.product_id = purchases.product_id
where
    cycles.user_id is null
    or purchases.user_id is null
    or cycles.purchases_count <> purchases.purchases_count
    or cycles.quantity <> purchases.quantity
    or cycles.first_purchase_date > cycles.last_purchase_date
    or cycles.days_since_purchase < 0
    or (cycles.purchases_count > 1) <> (cycles.median_interval_days is not null)
    or cycles.median_interval_days
    > {{ days_between("cycles.first_purchase_date", "cycles.last_purchase_date") }}
    or cycles.mean_interval_days * cycles.closed_intervals_count
    < {{ days_between("cycles.first_purchase_date", "cycles.last_purchase_date") }}
    - 0.01 * cycles.closed_intervals_count
    or (cycles.expected_interval_days is null)
    <> (cycles.median_interval_days is null and cycles.supply_days is null)
    or {{ days_between("cycles.expected_next_date", as_of()) }} <> cycles.overdue_days
    or (cycles.overdue_ratio >= 1) <> (cycles.overdue_days >= 0)
