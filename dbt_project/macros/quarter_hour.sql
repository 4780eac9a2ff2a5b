{#-
    Number of the quarter of an hour, since 1970, in which a UTC timestamp falls. Time zones differ from UTC by whole
    quarters, so all timestamps of one quarter share hour and day in each of them.
-#}
{% macro quarter_hour(timestamp_utc) -%}
    {{ integer_divide(seconds_between("cast('1970-01-01 00:00:00' as timestamp)", timestamp_utc), 900) }}
{%- endmacro %}
