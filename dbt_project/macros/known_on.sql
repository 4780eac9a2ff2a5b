{#-
    The business day at whose end a row was first known: the day it counts from, or a later one that it is dated on.
    `ends_at` is the end of the first of them (see business_days), or null.
-#}
{% macro known_on(in_force_from, seen_at, ends_at) -%}
    case
        when {{ seen_at }} < {{ ends_at }}
        then {{ in_force_from }}
        else greatest({{ in_force_from }}, {{ business_date(seen_at) }})
    end
{%- endmacro %}
