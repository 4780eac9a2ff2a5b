{#-
    Distinct positive values of a column with what lies above each: `peers` users hold it, `users_above` and `value_above`
    belong to those with more, `users_total` and `value_total` to all with a positive value. Equal values stand on one rung.
-#}
{% macro share_ladder(relation, column) -%}
    select
        held.value,
        held.peers,
        cast(
            coalesce(
                sum(held.peers) over (
                    order by held.value desc nulls last rows between unbounded preceding and 1 preceding
                ),
                0
            ) as bigint
        ) as users_above,
        coalesce(
            sum(held.value * held.peers) over (
                order by held.value desc nulls last rows between unbounded preceding and 1 preceding
            ),
            0
        ) as value_above,
        cast(sum(held.peers) over () as bigint) as users_total,
        sum(held.value * held.peers) over () as value_total
    from
        (
            select {{ column }} as value, count(*) as peers
            from {{ relation }}
            where {{ column }} > 0
            group by {{ column }}
        ) as held
{%- endmacro %}
