{#-
    How many users two audiences share: one row per pair (audience < other_audience) that shares any, with both_count.

    `members`: relation with audience and user_id, each pair once; `users`: relation with user_id and user_key, a
    whole number from 1 on, with few gaps.
-#}
{% macro audience_pair_counts(members, users) -%}
    {{ return(adapter.dispatch("audience_pair_counts")(members, users)) }}
{%- endmacro %}

{% macro default__audience_pair_counts(members, users) -%}
    select members.audience, others.audience as other_audience, count(*) as both_count
    from {{ members }} as members
    inner join
        {{ members }} as others on members.user_id = others.user_id and members.audience < others.audience
    group by members.audience, others.audience
{%- endmacro %}

{#- One bit per user, in blocks of 32 768 users; a block of one audience is compared with the same block of the others. -#}
{% macro duckdb__audience_pair_counts(members, users) -%}
    with
        placed as (
            select
                members.audience,
                {{ integer_divide("users.user_key", "32768") }} as block,
                cast(users.user_key % 32768 as integer) as bit
            from {{ members }} as members
            inner join {{ users }} as users on members.user_id = users.user_id
        ),

        blocks as materialized(
            select audience, block, bitstring_agg(bit, 0, 32767) as bits from placed group by audience, block
        )
    select
        blocks.audience,
        others.audience as other_audience,
        cast(sum(bit_count(blocks.bits & others.bits)) as bigint) as both_count
    from blocks
    inner join blocks as others on blocks.block = others.block and blocks.audience < others.audience
    group by blocks.audience, others.audience
    having sum(bit_count(blocks.bits & others.bits)) > 0
{%- endmacro %}
