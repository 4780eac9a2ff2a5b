{#- The business day of a UTC timestamp. -#}
{% macro business_date(timestamp_utc) -%}
    {{ return(adapter.dispatch("business_date")(timestamp_utc)) }}
{%- endmacro %}

{% macro default__business_date(timestamp_utc) -%}
    cast(from_utc_timestamp({{ timestamp_utc }}, '{{ var("business_timezone") }}') as date)
{%- endmacro %}

{% macro duckdb__business_date(timestamp_utc) -%}
    {%- set slow -%}
        cast(timezone('{{ var("business_timezone") }}', timezone('UTC', {{ timestamp_utc }})) as date)
    {%- endset -%}
    {{ steady_time(timestamp_utc, "cast(" ~ timestamp_utc ~ " + to_seconds(seconds) as date)", slow) }}
{%- endmacro %}
