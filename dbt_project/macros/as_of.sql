{#- The business day everything is a function of. Unit tests override this macro with a dated literal. -#}
{% macro as_of() -%} {{ return(adapter.dispatch("as_of")()) }} {%- endmacro %}

{% macro default__as_of() -%} cast('{{ var("as_of") }}' as date) {%- endmacro %}

{% macro duckdb__as_of() -%} cast(getvariable('as_of') as date) {%- endmacro %}
