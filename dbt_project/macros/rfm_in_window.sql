{#- Whether a business date lies in the window that RFM looks at, both ends included. -#}
{% macro rfm_in_window(date) -%}
    {%- set days = var("rfm_window_days") -%}
    {{ date }} <= {{ as_of() }}
    {%- if days is not none %} and {{ date }} >= {{ add_days(as_of(), -1 * (days | int)) }} {%- endif -%}
{%- endmacro %}
