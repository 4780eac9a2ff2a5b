{{ config(meta={"dagster": {"ref": {"name": "data_health"}}}) }}
-- Every table that ever had a row has the four checks, manual_tags a fifth; what is unusual says since
-- when, and the rest does
-- not.
with
    tables as (
        select table_name
        from {{ ref("int_health__days") }}
        where column_name is null
        group by 1
        having sum(rows_count) > 0
    ),
    checks as (
        select table_name, count(*) as rows_count, count(distinct check_name) as checks_count
        from {{ ref("data_health") }}
        group by table_name
    ),
    failures as (
        select coalesce(tables.table_name, checks.table_name) as table_name, 'checks' as problem
        from tables
        full outer join checks on checks.table_name = tables.table_name
        where
            coalesce(checks.rows_count, 0) <> case when tables.table_name = 'manual_tags' then 5 else 4 end
            or checks.checks_count <> checks.rows_count
        union all
        select table_name, 'since' as problem
        from {{ ref("data_health") }}
        where (status in ('warn', 'fail')) <> (since_date is not null) or since_date > {{ as_of() }}
    )
select *
from failures
