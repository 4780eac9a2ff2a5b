{{ config(meta={"dagster": {"ref": {"name": "user_order_cycle"}}}) }}
-- The wide table and the cycles speak of the same orders and say the same about the next one.
select coalesce(wide.user_id, cycles.user_id) as user_id
from (select * from {{ ref("user_wide") }} where orders_count > 0) as wide
full outer join {{ ref("user_order_cycle") }} as cycles on wide.user_id = cycles.user_id
where
    wide.user_id is null
    or cycles.user_id is null
    or wide.order_days_count <> cycles.order_days_count
    or wide.first_order_date <> cycles.first_order_date
    or wide.last_order_date <> cycles.last_order_date
    or (wide.order_days_count > 1) <> (wide.purchase_interval_days is not null)
    or {{ days_between("wide.last_order_date", "wide.next_order_expected_date") }}
    <> wide.purchase_interval_days
    or cycles.second_order_date <= cycles.first_order_date
