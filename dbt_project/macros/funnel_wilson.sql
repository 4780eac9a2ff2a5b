{#-
    One end of the 95 % score interval of a share (Wilson, 1927): `side` is - for the lower, + for the upper end.
    Null when there is nothing to take a share of. None of the trials has 0 as its lower end, all of them have 1 as
    their upper end, which the formula misses by rounding only.
-#}
{% macro funnel_wilson(hits, trials, side) -%}
    {%- set z = 1.959963984540054 -%}
    {%- set n = "cast(nullif(" ~ trials ~ ", 0) as double)" -%}
    {%- set p = "(cast(" ~ hits ~ " as double) / " ~ n ~ ")" -%}
    case
        when {{ trials }} > 0 and {{ hits }} = {{ "0" if side == "-" else trials }}
        then cast({{ "0" if side == "-" else "1" }} as double)
        when {{ trials }} > 0
        then
            (
                {{ p }}
                + {{ z * z }}
                / (2 * {{ n }}) {{ side }} {{ z }}
                * sqrt({{ p }} * (1 - {{ p }}) / {{ n }} + {{ z * z }} / (4 * {{ n }} * {{ n }}))
            )
            / (1 + {{ z * z }} / {{ n }})
    end
{%- endmacro %}
