{#- One row per day from the first to the last one, as the column `day`. -#}
{% macro day_series(first, last) -%} {{ return(adapter.dispatch("day_series")(first, last)) }} {%- endmacro %}

{% macro default__day_series(first, last) -%}
    select explode(sequence({{ first }}, {{ last }}, interval 1 day)) as day
{%- endmacro %}

{% macro duckdb__day_series(first, last) -%}
    select cast(unnest(generate_series({{ first }}, {{ last }}, interval 1 day)) as date) as day
{%- endmacro %}
