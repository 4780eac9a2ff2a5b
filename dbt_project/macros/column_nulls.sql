{#-
    Rows and empty values by input table, column and day of arrival, for the last `days` days up to as_of: table_name,
    column_name, arrived_on, rows_count, null_count. DuckDB reads them from the footers of the raw files of those days; no
    row is read, and the cost does not grow with history.
-#}
{% macro column_nulls(days) -%} {{ return(adapter.dispatch("column_nulls")(days)) }} {%- endmacro %}

{% macro default__column_nulls(days) -%}
    select table_name, column_name, arrived_on, rows_count, null_count
    from jingxi_column_nulls
    where arrived_on > {{ add_days(as_of(), "-" ~ days) }} and arrived_on <= {{ as_of() }}
{%- endmacro %}

{#- A raw file is <table>/<day of arrival>/<name>.parquet; a table's empty one has no day and keeps the list from being empty. -#}
{% macro duckdb__column_nulls(days) -%}
    {%- set place = "'/([a-z_]+)/([0-9]{4}-[0-9]{2}-[0-9]{2})/[^/]+$'" -%}
    select
        regexp_extract(file_name, {{ place }}, 1) as table_name,
        path_in_schema as column_name,
        cast(regexp_extract(file_name, {{ place }}, 2) as date) as arrived_on,
        cast(sum(num_values) as bigint) as rows_count,
        cast(sum(coalesce(stats_null_count, 0)) as bigint) as null_count
    from
        parquet_metadata(
            list_filter(
                jingxi_session.raw_files(),
                lambda file:ends_with(file, '/empty.parquet')
                or regexp_extract(file, {{ place }}, 2)
                > cast(getvariable('as_of') - cast({{ days }} as integer) as varchar)
            )
        )
    where regexp_extract(file_name, {{ place }}, 2) <> '' and path_in_schema not like '!_%' escape '!'
    group by 1, 2, 3
{%- endmacro %}
