{#-
    Computes `query` now, into a scratch table of the model that is being built, and reads it: the engine then knows how few
    rows it holds, and looks these up in a large table instead of the other way round. Name it in the model's meta `scratch`.
-#}
{% macro counted_rows(name, query) -%}
    {%- do scratch_table(scratch_name(name), query) -%} {{ return("select * from " ~ scratch_name(name)) }}
{%- endmacro %}

{#- The scratch table of that name of the model that is being built. -#}
{% macro scratch_name(name) -%} {{ return(this.identifier ~ "__" ~ name) }} {%- endmacro %}
