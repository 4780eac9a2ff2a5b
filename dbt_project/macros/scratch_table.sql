{#- Create or replace a table that lives until the end of the model that makes it. -#}
{% macro scratch_table(name, sql) -%}
    {{ return(adapter.dispatch("scratch_table")(name, sql)) }}
{%- endmacro %}

{% macro default__scratch_table(name, sql) -%}
    {% do drop_scratch_table(name) %}
    {% call statement("scratch", auto_begin=false) -%} create table {{ name }} as {{ sql }}
    {%- endcall %}
{%- endmacro %}

{% macro duckdb__scratch_table(name, sql) -%}
    {% call statement("scratch", auto_begin=false) -%}
        create or replace temp table {{ name }} as {{ sql }}
    {%- endcall %}
{%- endmacro %}
