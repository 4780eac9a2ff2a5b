{#- Run a statement inside the transaction of the model that is being built. -#}
{% macro run_sql(name, sql) -%} {% call statement(name) -%} {{ sql }} {%- endcall %} {%- endmacro %}
