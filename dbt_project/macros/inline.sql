{#-
    After the `as` of an import CTE over a large table that is read several times: the engine then reads the table for each
    use, only the columns and rows that it needs, instead of keeping one copy of all that any use needs.
-#}
{% macro inline() -%} {{ return(adapter.dispatch("inline")()) }} {%- endmacro %}

{% macro default__inline() -%} {%- endmacro %}

{% macro duckdb__inline() -%} not materialized {%- endmacro %}
