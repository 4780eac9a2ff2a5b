{{ config(meta={"dagster": {"ref": {"name": "rfm_segments"}}}) }}
-- The cell is the one of the three highs, and scores lie between 1 and 5.
select segments.user_id, segments.cell
from {{ ref("rfm_segments") }} as segments
left join
    {{ ref("rfm_cells") }} as cells
    on segments.r_high = cells.r_high
    and segments.f_high = cells.f_high
    and segments.m_high = cells.m_high
where
    cells.cell is null
    or segments.cell <> cells.cell
    or least(segments.r_score, segments.f_score, segments.m_score) < 1
    or greatest(segments.r_score, segments.f_score, segments.m_score) > 5
