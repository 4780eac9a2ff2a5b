{#- A moment (UTC), or null while it lies after as_of: later facts do not exist yet. -#}
{% macro happened_at(moment) -%} case when {{ happened(moment) }} then {{ moment }} end {%- endmacro %}
