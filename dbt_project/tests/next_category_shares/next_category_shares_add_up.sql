{{ config(meta={"dagster": {"ref": {"name": "next_category_shares"}}}) }}
-- What comes after a category adds up to one, for each day; every customer has one vote per category.
select category
from {{ ref("next_category_shares") }}
group by category
having
    abs(sum(share) - 1) > 0.000001 * count(*)
    or abs(sum(share_then) - 1) > 0.000001 * count(*)
    or abs(sum(base_share) - 1) > 0.000001 * count(*)
    or abs(sum(votes) - max(customers_count)) > 0.00001 * max(customers_count)
    or max(customers_count_then) > max(customers_count)
    or min(share) < 0
