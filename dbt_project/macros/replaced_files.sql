{#-
    Landing files of an input table that a later version of their path replaced by as_of: taken_in_at, which tells
    the file, and replaced_on, the business day from which its rows count no longer.
-#}
{% macro replaced_files(table) -%} {{ return(adapter.dispatch("replaced_files")(table)) }} {%- endmacro %}

{% macro default__replaced_files(table) -%}
    (select taken_in_at, replaced_on from replaced_files where table_name = '{{ table }}')
{%- endmacro %}

{% macro duckdb__replaced_files(table) -%}
    (select taken_in_at, replaced_on from jingxi_session.replaced_files where table_name = '{{ table }}')
{%- endmacro %}
