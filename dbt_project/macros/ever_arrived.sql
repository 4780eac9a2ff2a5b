{#-
    Every row of an input table that ever arrived by as_of, also of landing files that were replaced since.
    `source("raw", table)` holds only what still counts.
-#}
{% macro ever_arrived(table) -%}
    {#- For the lineage. -#}
    {%- do source("raw", table) -%} {{ return(adapter.dispatch("ever_arrived")(table)) }}
{%- endmacro %}

{% macro default__ever_arrived(table) -%} {{ source("raw", table) }} {%- endmacro %}

{% macro duckdb__ever_arrived(table) -%}
    read_parquet(jingxi_session.ever_arrived.{{ table }} (), union_by_name = true)
{%- endmacro %}

{#- The same rows, only those that arrived after `forward_from()`. -#}
{% macro ever_arrived_since(table) -%}
    {{ return(adapter.dispatch("ever_arrived_since")(table)) }}
{%- endmacro %}

{% macro default__ever_arrived_since(table) -%}
    (select * from {{ source("raw", table) }} where _arrived_on > {{ forward_from() }})
{%- endmacro %}

{% macro duckdb__ever_arrived_since(table) -%}
    read_parquet(jingxi_session.ever_arrived_since.{{ table }} (), union_by_name = true)
{%- endmacro %}
