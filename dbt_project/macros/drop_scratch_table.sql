{#- Drop a table made by `scratch_table`. -#}
{% macro drop_scratch_table(name) -%}
    {% call statement("scratch", auto_begin=false) -%} drop table if exists {{ name }}
    {%- endcall %}
{%- endmacro %}
