{#- A text id for a fact whose table has none, from the columns that make it unique; shows no identifier. -#}
{% macro fact_id(kind, columns) -%}
    {%- set parts = [] -%}
    {%- for column in columns -%}
        {% do parts.append("coalesce(cast(" ~ column ~ " as varchar), '')") %}
    {%- endfor -%}
    '{{ kind }}:' || substring({{ keyed_hash(parts | join(" || chr(31) || ")) }}, 1, 20)
{%- endmacro %}
