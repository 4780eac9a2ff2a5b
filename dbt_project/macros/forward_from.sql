{#-
    The business day that the warehouse held in full before this build; null when everything is built anew.
    Between the two days lie the rows that arrived after it, and those that arrived before with a moment after it.
-#}
{% macro forward_from() -%} {{ return(adapter.dispatch("forward_from")()) }} {%- endmacro %}

{% macro default__forward_from() -%}
    cast({{ "'" ~ var("since") ~ "'" if var("since", none) else "null" }} as date)
{%- endmacro %}

{% macro duckdb__forward_from() -%} cast(getvariable('since') as date) {%- endmacro %}
