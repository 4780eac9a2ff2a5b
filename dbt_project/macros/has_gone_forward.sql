{#-
    Whether a running model has gone on from `forward_from()` in this build: what a model that does not run itself reads
    before it carries on its own rows of that day.
-#}
{% macro has_gone_forward(model_name) -%}
    {%- if not execute or load_cached_relation(running_models()) is none -%} {{ return(false) }} {%- endif -%}
    {%- set gone_on -%}
        select 1 as one
        from {{ running_models() }}
        where model = '{{ model_name }}' and as_of_date = {{ as_of() }} and since_date = {{ forward_from() }}
    {%- endset -%}
    {{ return(has_rows(gone_on)) }}
{%- endmacro %}
