{#-
    What arrived by input table and day up to as_of: table_name, arrived_on, files_count, rows_count (accepted records),
    rejected_count (refused ones, on the first day of their file). Comes from the intake's registry; no file is read.
-#}
{% macro arrivals() -%} {{ return(adapter.dispatch("arrivals")()) }} {%- endmacro %}

{% macro default__arrivals() -%} jingxi_arrivals {%- endmacro %}

{% macro duckdb__arrivals() -%} jingxi_session.arrivals {%- endmacro %}
