{#- Hash of all input that counts on as_of, given by the job. Unit tests override this macro with a literal. -#}
{% macro input_hash() -%} {{ return(adapter.dispatch("input_hash")()) }} {%- endmacro %}

{% macro default__input_hash() -%}
    cast('{{ var("input_hash", "") }}' as {{ dbt.type_string() }})
{%- endmacro %}

{% macro duckdb__input_hash() -%} cast(coalesce(getvariable('input_hash'), '') as varchar) {%- endmacro %}
