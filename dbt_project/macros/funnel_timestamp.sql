{#- Whole microseconds since 1970 as a UTC timestamp. -#}
{% macro funnel_timestamp(microseconds) -%}
    {{ return(adapter.dispatch("funnel_timestamp")(microseconds)) }}
{%- endmacro %}

{% macro default__funnel_timestamp(microseconds) -%} timestamp_micros({{ microseconds }}) {%- endmacro %}

{% macro duckdb__funnel_timestamp(microseconds) -%} make_timestamp({{ microseconds }}) {%- endmacro %}
