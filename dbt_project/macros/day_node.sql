{#- One bigint for an identifier key on a business day, and the key again. 40 bits hold a trillion keys. -#}
{% macro day_node(day, key) -%}
    (cast({{ days_between("cast('1900-01-01' as date)", day) }} as bigint) * 1099511627776 + {{ key }})
{%- endmacro %}

{% macro day_node_key(node) -%}({{ node }} % 1099511627776) {%- endmacro %}
