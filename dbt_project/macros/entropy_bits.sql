{#- Entropy in bits (Shannon, 1948) of a yes/no outcome that held in `hits` of `trials`; 0 when it always or never did. -#}
{% macro entropy_bits(hits, trials) -%}
    {%- set share = "(cast(" ~ hits ~ " as double) / cast(nullif(" ~ trials ~ ", 0) as double))" -%}
    case
        when {{ hits }} > 0 and {{ hits }} < {{ trials }}
        then - {{ share }} * log2({{ share }}) - (1 - {{ share }}) * log2(1 - {{ share }})
        when {{ trials }} > 0
        then cast(0 as double)
    end
{%- endmacro %}
