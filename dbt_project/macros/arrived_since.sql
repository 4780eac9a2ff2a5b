{#- The rows of an input table that count on as_of and did not yet count on `forward_from()`. -#}
{% macro arrived_since(table) -%} {{ return(adapter.dispatch("arrived_since")(table)) }} {%- endmacro %}

{% macro default__arrived_since(table) -%}
    (select * from {{ source("raw", table) }} where _arrived_on > {{ forward_from() }})
{%- endmacro %}

{#- Only the new files are opened, so the cost does not grow with history. -#}
{% macro duckdb__arrived_since(table) -%}
    read_parquet(jingxi_session.arrived.{{ table }} (), union_by_name = true)
{%- endmacro %}
