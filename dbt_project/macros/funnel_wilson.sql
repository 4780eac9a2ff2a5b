{#-
    One end of the 95 % score interval of a share (Wilson, 1927): `side` is - for the lower, + for the upper end.
    Null when there is nothing to take a share of. Held within 0 and 1 against rounding.
-#}
{% macro funnel_wilson(hits, trials, side) -%}
    {%- set z = 1.959963984540054 -%}
    {%- set n = "nullif(cast(" ~ trials ~ " as double), 0)" -%}
    {%- set p = "(cast(" ~ hits ~ " as double) / " ~ n ~ ")" -%}
    case
        when {{ trials }} > 0
        then
            greatest(
                0e0,
                least(
                    1e0,
                    (
                        {{ p }}
                        + {{ z * z }}
                        / (2 * {{ n }}) {{ side }} {{ z }}
                        * sqrt({{ p }} * (1 - {{ p }}) / {{ n }} + {{ z * z }} / (4 * {{ n }} * {{ n }}))
                    )
                    / (1 + {{ z * z }} / {{ n }})
                )
            )
    end
{%- endmacro %}
