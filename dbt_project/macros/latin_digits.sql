{#- A text with full-width digits, plus, minus and dot as the plain ones. -#}
{% macro latin_digits(text) -%} translate({{ text }}, '０１２３４５６７８９＋－．　', '0123456789+-. ') {%- endmacro %}
