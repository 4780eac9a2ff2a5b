{#-
    `fast`, plain arithmetic with `seconds` between UTC and business time, for moments since which the zone has kept one
    offset; `slow` for earlier ones and other zones. Looking up the time zone costs ten times more.
-#}
{% macro steady_time(timestamp_utc, fast, slow) -%}
    {%- set steady = var("business_offset") -%}
    {%- if not steady or steady.timezone != var("business_timezone") -%} {{ slow }}
    {%- else -%}
        case
            when {{ timestamp_utc }} >= timestamp '{{ steady.since }}'
            then {{ fast | replace("(seconds)", "(" ~ steady.seconds ~ ")") }}
            else {{ slow }}
        end
    {%- endif -%}
{%- endmacro %}
