{{ config(meta={"dagster": {"ref": {"name": "user_wide"}}}) }}
-- Every buyer's cell and scores are in the wide table as in rfm_segments, and nobody else has any.
select coalesce(wide.user_id, segments.user_id) as user_id
from (select * from {{ ref("user_wide") }} where rfm_cell <> 'no_order') as wide
full outer join {{ ref("rfm_segments") }} as segments on wide.user_id = segments.user_id
where
    wide.user_id is null
    or segments.user_id is null
    or wide.rfm_cell <> segments.cell
    or wide.r_score <> segments.r_score
    or wide.f_score <> segments.f_score
    or wide.m_score <> segments.m_score
