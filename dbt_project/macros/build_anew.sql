{#-
    Makes is_forward() false for this running model, and for those that read it: going on from the day held would cost as
    much as building anew. Said while the model is compiled; what it yields must be the whole table then.
-#}
{% macro build_anew() -%}
    {%- call statement("build_anew", auto_begin=false) -%}
        delete from {{ running_models() }} where model = '{{ this.identifier }}'
    {%- endcall -%}
{%- endmacro %}
