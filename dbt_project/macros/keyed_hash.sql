{#- HMAC-SHA256 (RFC 2104) of a text with the home's secret key, hexadecimal. The key never appears in SQL. -#}
{% macro keyed_hash(text) -%} {{ return(adapter.dispatch("keyed_hash")(text)) }} {%- endmacro %}

{% macro default__keyed_hash(text) -%} jingxi_keyed_hash({{ text }}) {%- endmacro %}

{% macro duckdb__keyed_hash(text) -%}
    sha256(getvariable('hmac_outer') || unhex(sha256(getvariable('hmac_inner') || encode({{ text }}))))
{%- endmacro %}
