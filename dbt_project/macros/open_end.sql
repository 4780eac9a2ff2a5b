{#- The end of a stretch of days that has not ended by as_of. Stretches hold their first day and not their last. -#}
{% macro open_end() -%} cast('9999-12-31' as date) {%- endmacro %}
