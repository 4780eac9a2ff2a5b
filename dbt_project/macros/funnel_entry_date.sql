{#- First business day of the month, week (from Monday) or day of a moment in microseconds; null for all. -#}
{% macro funnel_entry_date(microseconds, entry_unit) -%}
    {%- set entry_day = business_date(funnel_timestamp(microseconds)) -%}
    {%- if entry_unit == "all" -%} cast(null as date)
    {%- elif entry_unit == "day" -%} {{ entry_day }}
    {%- else -%} cast(date_trunc('{{ entry_unit }}', {{ entry_day }}) as date)
    {%- endif -%}
{%- endmacro %}
