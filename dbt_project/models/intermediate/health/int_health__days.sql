{#- The tables that a day's arrivals speak of, so that lineage shows them. -#}
{%- for table in input_tables() %}
-- depends_on: {{ source("raw", table) }}
{%- endfor %}
{%- set window = 7 * var("health_weeks") + 14 %}

with
    arrivals as (select * from {{ arrivals() }} where arrived_on <= {{ as_of() }}),
    column_nulls as ({{ column_nulls(window) }}),
    joined as (
        select
            table_name,
            cast(null as varchar) as column_name,
            arrived_on,
            rows_count,
            cast(null as bigint) as null_count,
            rejected_count
        from arrivals
        union all
        select
            table_name,
            column_name,
            arrived_on,
            rows_count,
            null_count,
            cast(null as bigint) as rejected_count
        from column_nulls
    ),
    final as (
        select
            cast(table_name as varchar) as table_name,
            cast(column_name as varchar) as column_name,
            cast(arrived_on as date) as arrived_on,
            cast(rows_count as bigint) as rows_count,
            cast(null_count as bigint) as null_count,
            cast(rejected_count as bigint) as rejected_count
        from joined
    )
select *
from final
