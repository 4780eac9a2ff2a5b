{{ config(meta={"dagster": {"ref": {"name": "rfm_segments"}}}) }}
-- The cells are disjoint and exhaustive: every buyer is in exactly one, with one method and one day.
with

    segments as (select * from {{ ref("rfm_segments") }}),

    buyers as (select * from {{ ref("int_rfm__buyers") }}),

    final as (
        select
            (select count(*) from buyers) as buyers_count,
            (select count(*) from segments) as rows_count,
            (select count(distinct user_id) from segments) as users_count,
            (select count(distinct method) from segments) as methods_count,
            (select count(*) from segments where as_of_date <> {{ as_of() }}) as other_days_count
    )

select *
from final
where buyers_count <> rows_count or rows_count <> users_count or methods_count > 1 or other_days_count > 0
