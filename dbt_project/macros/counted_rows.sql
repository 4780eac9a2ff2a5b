{#-
    Computes `query` now, into a scratch table of the model that is being built, and reads it: the engine then knows how few
    rows it holds, and looks these up in a large table instead of the other way round. Name it in the model's meta `scratch`.
-#}
{% macro counted_rows(name, query) -%}
    {%- set table = this.identifier ~ "__" ~ name -%}
    {%- do scratch_table(table, query) -%}
    {{ return("select * from " ~ table) }}
{%- endmacro %}
