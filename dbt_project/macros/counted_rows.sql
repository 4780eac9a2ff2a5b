{#-
    Computes `query` now, into a scratch table of the model that is being built, and reads it: the engine then knows how few
    rows it holds, and looks these up in a large table instead of the other way round. Name it in the model's meta `scratch`. Where nothing is
    built (dbt compile) it is the query itself.
-#}
{% macro counted_rows(name, query) -%}
    {%- if flags.WHICH not in ("build", "run") -%} {{ return(query) }} {%- endif -%}
    {%- do scratch_table(scratch_name(name), query) -%} {{ return("select * from " ~ scratch_name(name)) }}
{%- endmacro %}

{#- The scratch table of that name of the model that is being built. -#}
{% macro scratch_name(name) -%} {{ return(this.identifier ~ "__" ~ name) }} {%- endmacro %}
