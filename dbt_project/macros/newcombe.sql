{#-
    One end of the 95 % interval of the difference of two shares, hits_1 / trials_1 - hits_2 / trials_2: the score interval
    that joins both Wilson intervals (Newcombe, 1998, method 10). `side` is - for the lower, + for the upper end. Null when
    one of them has no trials.
-#}
{% macro newcombe(hits_1, trials_1, hits_2, trials_2, side) -%}
    {%- set p1 = "(cast(" ~ hits_1 ~ " as double) / cast(nullif(" ~ trials_1 ~ ", 0) as double))" -%}
    {%- set p2 = "(cast(" ~ hits_2 ~ " as double) / cast(nullif(" ~ trials_2 ~ ", 0) as double))" -%}
    {%- set other = "-" if side == "+" else "+" -%}
    {{ p1 }} - {{ p2 }} {{ side }} sqrt(
        pow(({{ funnel_wilson(hits_1, trials_1, side) }}) - {{ p1 }}, 2)
        + pow(({{ funnel_wilson(hits_2, trials_2, other) }}) - {{ p2 }}, 2)
    )
{%- endmacro %}
