{#-
    Whether a moment (UTC) lies on or before the business day as_of; null when there is no moment.
    Compares with one constant, so no time zone is looked up for each row.
-#}
{% macro happened(moment) -%} {{ moment }} < {{ day_start(as_of() ~ " + interval 1 day") }} {%- endmacro %}
