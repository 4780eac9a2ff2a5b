{#- A stable number from 0 to 9 999 for a text: md5(salt || ':' || text), its first 8 hexadecimal digits, modulo 10 000. -#}
{% macro hash_bucket(salt, text) -%} {{ return(adapter.dispatch("hash_bucket")(salt, text)) }} {%- endmacro %}

{% macro default__hash_bucket(salt, text) -%}
    cast(conv(substr(md5({{ salt }} || ':' || {{ text }}), 1, 8), 16, 10) as bigint) % 10000
{%- endmacro %}

{% macro duckdb__hash_bucket(salt, text) -%}
    cast('0x' || substr(md5({{ salt }} || ':' || {{ text }}), 1, 8) as bigint) % 10000
{%- endmacro %}
