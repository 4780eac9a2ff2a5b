{#- The variance of a count grows with it; that of this root of it is 1 for Poisson counts (Anscombe 1948). -#}
{% macro count_root(count) -%} (2 * sqrt({{ count }} + 0.375)) {%- endmacro %}

{#- The count whose root it is; 0 for a root below that of 0. -#}
{% macro root_count(root) -%} greatest(0, power(greatest({{ root }}, 0) / 2, 2) - 0.375) {%- endmacro %}

{#-
    The same for `part` of `whole`: an angle whose standard deviation is 1 / (2 sqrt(whole + 0.5)) for binomial counts
    (Anscombe 1948).
-#}
{% macro share_angle(part, whole) -%} asin(sqrt(({{ part }} + 0.375) / ({{ whole }} + 0.75))) {%- endmacro %}

{#- The share whose angle it is, 0 to 1. -#}
{% macro angle_share(angle) -%} power(sin(least({{ angle }}, pi() / 2)), 2) {%- endmacro %}

{#-
    Standard deviations in units of pure chance: the median error times 1.4826, as for normal errors, never below
    chance itself, and wider the fewer errors there are to judge by.
-#}
{% macro error_spread(median_error, errors) -%}
    greatest(1, 1.4826 * {{ median_error }} * (1 + 3.0 / {{ errors }}))
{%- endmacro %}

{#- A share in percent, as text. -#}
{% macro in_percent(share) -%}
    cast(cast(round(100 * {{ share }}, 1) as decimal(9, 1)) as varchar) || ' %'
{%- endmacro %}

{#- A count without decimals, as text. -#}
{% macro whole_number(number) -%} cast(cast(round({{ number }}) as bigint) as varchar) {%- endmacro %}
