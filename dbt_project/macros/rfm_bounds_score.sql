{#- Score 1 to 5 of a value by four rising bounds; a value equal to a bound belongs below it. -#}
{% macro rfm_bounds_score(value, bounds, low_is_good=false) -%}
    case
        {%- for bound in bounds %}
            when {{ value }} <= {{ bound }} then {{ 5 - loop.index0 if low_is_good else loop.index }}
        {%- endfor %}
        else {{ 1 if low_is_good else 5 }}
    end
{%- endmacro %}
