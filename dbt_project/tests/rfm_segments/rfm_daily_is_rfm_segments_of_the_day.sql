{{ config(meta={"dagster": {"ref": {"name": "rfm_daily"}}}) }}
-- The day's rows of rfm_daily and rfm_segments are the same, both ways.
with

    daily as (select * from {{ ref("rfm_daily") }} where as_of_date = {{ as_of() }}),

    segments as (select * from {{ ref("rfm_segments") }})

select coalesce(daily.user_id, segments.user_id) as user_id
from daily
full outer join segments on daily.user_id = segments.user_id
where
    daily.user_id is null
    or segments.user_id is null
    or daily.cell <> segments.cell
    or daily.monetary <> segments.monetary
