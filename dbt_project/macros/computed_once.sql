{#- Between `as` and the bracket of a CTE: it is computed once, not planned anew wherever it is read. -#}
{% macro computed_once() -%} {{ return(adapter.dispatch("computed_once")()) }} {%- endmacro %}

{% macro default__computed_once() -%} {%- endmacro %}

{% macro duckdb__computed_once() -%} materialized {%- endmacro %}
