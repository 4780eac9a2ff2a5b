{#- Days as a bitmap, an aggregate: bit n is set when the n-th day after `first_day` (0 to 126) is among them. -#}
{% macro day_bits(day, first_day) -%}
    {{ return(adapter.dispatch("day_bits")(day, first_day)) }}
{%- endmacro %}

{#- 38 decimal digits hold 126 bits. -#}
{% macro default__day_bits(day, first_day) -%}
    sum(distinct cast(power(2, {{ days_between(first_day, day) }}) as decimal(38, 0)))
{%- endmacro %}

{% macro duckdb__day_bits(day, first_day) -%}
    bit_or(cast(1 as hugeint) << cast({{ days_between(first_day, day) }} as hugeint))
{%- endmacro %}

{#- How many days are set in a bitmap from the n-th one on; 0 for none. -#}
{% macro count_day_bits(bits, from_day) -%}
    {{ return(adapter.dispatch("count_day_bits")(bits, from_day)) }}
{%- endmacro %}

{% macro default__count_day_bits(bits, from_day) -%}
    coalesce(
        length(replace(conv(cast(floor({{ bits }} / power(2, {{ from_day }})) as string), 10, 2), '0', '')), 0
    )
{%- endmacro %}

{% macro duckdb__count_day_bits(bits, from_day) -%}
    coalesce(cast(bit_count({{ bits }} >> cast(least({{ from_day }}, 126) as hugeint)) as bigint), 0)
{%- endmacro %}
