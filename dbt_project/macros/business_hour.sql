{#- The hour of the business day (0 to 23) in which a UTC timestamp falls. -#}
{% macro business_hour(timestamp_utc) -%}
    {{ return(adapter.dispatch("business_hour")(timestamp_utc)) }}
{%- endmacro %}

{% macro default__business_hour(timestamp_utc) -%}
    hour(from_utc_timestamp({{ timestamp_utc }}, '{{ var("business_timezone") }}'))
{%- endmacro %}

{% macro duckdb__business_hour(timestamp_utc) -%}
    {%- set slow -%}
        cast(
            extract(
                hour from timezone('{{ var("business_timezone") }}', timezone('UTC', {{ timestamp_utc }}))
            ) as integer
        )
    {%- endset -%}
    {{
        steady_time(
            timestamp_utc,
            "cast(extract(hour from " ~ timestamp_utc ~ " + to_seconds(seconds)) as integer)",
            slow,
        )
    }}
{%- endmacro %}
