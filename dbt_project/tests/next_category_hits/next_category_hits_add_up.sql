{{ config(meta={"dagster": {"ref": {"name": "next_category_hits"}}}) }}
-- What the prediction hits beyond the baseline is what it gained less what it lost; the baseline's own row
-- gains
-- nothing.
select next_category
from {{ ref("next_category_hits") }}
where
    hits_count - baseline_hits_count <> gained_count - lost_count
    or greatest(hits_count, baseline_hits_count) + least(gained_count, lost_count) > customers_count
    or (next_category = baseline_category and gained_count + lost_count > 0)
