{#-
    One bigint that sorts by day of arrival, then by moment (to the second): its minimum over the rows of an
    identifier is the first sighting among those of the first arrival, which no row that arrives later can change.
    36 bits hold the seconds from 1900 to the year 4077.
-#}
{% macro sighting_rank(arrived_on, seen_at) -%}
    (
        cast({{ days_between("cast('1900-01-01' as date)", arrived_on) }} as bigint) * 68719476736
        + greatest(0, {{ seconds_between("cast('1900-01-01 00:00:00' as timestamp)", seen_at) }})
    )
{%- endmacro %}
