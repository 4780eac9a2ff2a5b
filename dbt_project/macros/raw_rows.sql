{#- What a staging model reads: every raw row that counts on as_of, or going forward only those not yet read. -#}
{% macro raw_rows(relation, table) -%}
    {%- if is_forward() -%} {{ arrived_since(table) }} {%- else -%} {{ relation }} {%- endif -%}
{%- endmacro %}
