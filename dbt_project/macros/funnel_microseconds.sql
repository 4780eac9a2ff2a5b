{#- A UTC timestamp as whole microseconds since 1970. -#}
{% macro funnel_microseconds(timestamp_utc) -%}
    {{ return(adapter.dispatch("funnel_microseconds")(timestamp_utc)) }}
{%- endmacro %}

{% macro default__funnel_microseconds(timestamp_utc) -%} unix_micros({{ timestamp_utc }}) {%- endmacro %}

{% macro duckdb__funnel_microseconds(timestamp_utc) -%} epoch_us({{ timestamp_utc }}) {%- endmacro %}
