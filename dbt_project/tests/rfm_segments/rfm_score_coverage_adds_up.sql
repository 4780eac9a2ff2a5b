{{ config(meta={"dagster": {"ref": {"name": "rfm_score_coverage"}}}) }}
-- Each metric has its five scores once, and they hold every buyer.
select metric
from {{ ref("rfm_score_coverage") }}
group by metric
having
    count(*) <> 5
    or count(distinct score) <> 5
    or sum(users) <> (select count(*) from {{ ref("rfm_segments") }})
