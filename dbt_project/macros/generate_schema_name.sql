{#- One schema per layer, named as the layer is: staging, intermediate, marts, private, seeds. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
