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

{#- A bitmap as it reads when its first day is so many days later; days before the new first one are gone. -#}
{% macro shift_day_bits(bits, days) -%}
    {{ return(adapter.dispatch("shift_day_bits")(bits, days)) }}
{%- endmacro %}

{% macro default__shift_day_bits(bits, days) -%} floor({{ bits }} / power(2, {{ days }})) {%- endmacro %}

{% macro duckdb__shift_day_bits(bits, days) -%}
    ({{ bits }} >> cast(least({{ days }}, 126) as hugeint))
{%- endmacro %}

{#- The days of two bitmaps with the same first day; one without days may be null. -#}
{% macro join_day_bits(bits, other) -%}
    {{ return(adapter.dispatch("join_day_bits")(bits, other)) }}
{%- endmacro %}

{#- Bit by bit in halves that an integer holds. -#}
{% macro default__join_day_bits(bits, other) -%}
    {%- set halves = [] -%}
    {%- for part in [bits, other] -%}
        {%- set whole = "coalesce(" ~ part ~ ", 0)" -%}
        {%- set high = "cast(floor(" ~ whole ~ " / power(2, 60)) as bigint)" -%}
        {%- do halves.append((high, "cast(" ~ whole ~ " - " ~ high ~ " * power(2, 60) as bigint)")) -%}
    {%- endfor -%}
    cast(({{ halves[0][0] }} | {{ halves[1][0] }}) as decimal(38, 0)) * cast(power(2, 60) as decimal(38, 0))
    + ({{ halves[0][1] }} | {{ halves[1][1] }})
{%- endmacro %}

{% macro duckdb__join_day_bits(bits, other) -%}
    (coalesce({{ bits }}, cast(0 as hugeint)) | coalesce({{ other }}, cast(0 as hugeint)))
{%- endmacro %}

{#- The days of many bitmaps with the same first day, an aggregate. -#}
{% macro merge_day_bits(bits) -%} {{ return(adapter.dispatch("merge_day_bits")(bits)) }} {%- endmacro %}

{% macro default__merge_day_bits(bits) -%}
    aggregate(
        collect_list({{ bits }}),
        cast(0 as decimal(38, 0)),
        (merged, one) -> {{ default__join_day_bits("merged", "one") }}
    )
{%- endmacro %}

{% macro duckdb__merge_day_bits(bits) -%} bit_or({{ bits }}) {%- endmacro %}
