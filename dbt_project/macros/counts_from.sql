{#-
    The business day from which a row counts: its day of arrival. With the setting history.late_rows = include a row that
    counts for as_of although it arrived later does so from as_of on.
-#}
{% macro counts_from(arrived_on) -%}
    {%- if var("history_late_rows") == "include" -%} least({{ arrived_on }}, {{ as_of() }})
    {%- else -%} {{ arrived_on }}
    {%- endif -%}
{%- endmacro %}
