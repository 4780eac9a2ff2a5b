{#- The moment, in UTC, at which a business day begins. -#}
{% macro day_start(day) -%} {{ return(adapter.dispatch("day_start")(day)) }} {%- endmacro %}

{% macro default__day_start(day) -%}
    to_utc_timestamp(cast({{ day }} as timestamp), '{{ var("business_timezone") }}')
{%- endmacro %}

{% macro duckdb__day_start(day) -%}
    timezone('UTC', timezone('{{ var("business_timezone") }}', cast({{ day }} as timestamp)))
{%- endmacro %}
