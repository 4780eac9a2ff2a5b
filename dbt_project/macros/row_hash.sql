{#- A 64-bit hash of some columns, nulls included. Not stable between engines: for use inside one statement. -#}
{% macro row_hash(columns) -%} {{ return(adapter.dispatch("row_hash")(columns)) }} {%- endmacro %}

{% macro default__row_hash(columns) -%} xxhash64({{ columns | join(", ") }}) {%- endmacro %}

{% macro duckdb__row_hash(columns) -%} hash({{ columns | join(", ") }}) {%- endmacro %}
