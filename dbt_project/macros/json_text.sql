{#- The value of one key of a JSON object as text; null when it is not there. -#}
{% macro json_text(object, key) -%} {{ return(adapter.dispatch("json_text")(object, key)) }} {%- endmacro %}

{% macro default__json_text(object, key) -%} get_json_object({{ object }}, '$.{{ key }}') {%- endmacro %}

{% macro duckdb__json_text(object, key) -%} json_extract_string({{ object }}, '$.{{ key }}') {%- endmacro %}
