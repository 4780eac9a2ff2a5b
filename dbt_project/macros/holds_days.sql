{#- Whether the table of this by-date model is there already, so that it can be read. Unit tests override this. -#}
{% macro holds_days() -%} {{ return(execute and load_cached_relation(this) is not none) }} {%- endmacro %}
