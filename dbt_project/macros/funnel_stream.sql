{#-
    For every start of an ordered funnel, the earliest moment at which each step can be completed.

    relation         columns pair_key, occurred_us, step (1 … step_count); one row per activity that is a step
    condition        which rows of the relation, as SQL
    step_count       number of steps
    strict_increase  whether a step has to be later than the one before
    entry_unit       all, month, week or day: of starts with the same future within a unit only the
                     first (it completes step 1 first) and the last (it has most time left) are kept
    packing          seconds: key, second and step fit in 63 bits; microseconds: 127 bits, no limit in practice
    Result           pair_key, entered_us, done_1_us … done_<step_count>_us (null = never)

    Key, reversed time and step are packed in one integer, and that is sorted once. Read in this order, each key
    goes backwards in time. For step k, a running maximum keeps the nearest step k to come together with
    the moments at which the steps after it are done from there: the number grows while the time goes back, so the
    newest value is the largest. What belongs to the key before is told by its upper bits at the end.
    At one and the same moment later steps are read first, so that they can follow; with strict_increase last.
    That rows arrive sorted is no promise of SQL, so it is checked on the way.
-#}
{% macro funnel_stream(relation, condition, step_count, strict_increase, entry_unit, packing) -%}
    {{
        return(
            adapter.dispatch("funnel_stream")(
                relation, condition, step_count, strict_increase, entry_unit, packing
            )
        )
    }}
{%- endmacro %}

{% macro default__funnel_stream(relation, condition, step_count, strict_increase, entry_unit, packing) -%}
    {{ exceptions.raise_compiler_error("funnel_stream works on DuckDB only: ask funnel_streams() first") }}
{%- endmacro %}

{% macro duckdb__funnel_stream(relation, condition, step_count, strict_increase, entry_unit, packing) -%}
    {%- set step_bits = 3 if step_count <= 8 else 4 -%}
    {%- set step_mask = 2**step_bits - 1 -%}
    {%- if packing == "seconds" -%}
        {#- Seconds from 1970 to 2106; the upper 28 (27) bits are the key. -#}
        {%- set type, time_bits, unit_us = "bigint", 32, 1000000 -%} {%- set last_moment = 2**32 - 1 -%}
    {%- else -%}
        {#- All timestamps of the engine: less than 2^59 microseconds before or after 1970. -#}
        {%- set type, time_bits, unit_us = "hugeint", 60, 1 -%} {%- set last_moment = 2**59 -%}
    {%- endif -%}
    {%- set time_mask = 2**time_bits - 1 -%}
    {%- set rank = "(step - 1)" if strict_increase else "(" ~ step_count ~ " - step)" -%}
    {#- Pieces of SQL: `{{ is_step }} n`, and `{{ time }}moment{{ in_us }}` for a moment that carries its key. -#}
    {%- set is_step = "(code & " ~ step_mask ~ ") =" -%}
    {%- set time = "cast(" ~ last_moment ~ " - (" -%}
    {%- set in_us = " & " ~ time_mask ~ ") as bigint) * " ~ unit_us -%}
    {%- set over = "over (rows between unbounded preceding and current row)" -%}
    {%- set number = namespace(of={}) -%}
    {%- for position in range(1, step_count + 1) -%}
        {%- do number.of.update({position: position - 1 if strict_increase else step_count - position}) -%}
    {%- endfor -%}
    with
        packed as (
            select
                (cast(pair_key as {{ type }}) << {{ time_bits + step_bits }}) | (
                    cast(
                        {{ last_moment }}
                        - {{
                            (
                                "occurred_us // 1000000"
                                if packing == "seconds"
                                else "cast(occurred_us as hugeint)"
                            )
                        }} as {{ type }}
                    )
                    << {{ step_bits }}
                )
                | {{ rank }} as code
            from {{ relation }}
            where {{ condition }}
            order by code
        ),
        beside as (
            select code, lag(code) over () as code_after, lead(code) over () as code_before from packed
        ),
        -- Of the same step again and again, with nothing in between, the first in time is the one to take; of
        -- starts the first and the last of a unit.
        reach_{{ step_count + 1 }} as (
            select code
            from beside
            where
                case
                    when code_after > code
                    then error('rows reached the funnel out of order; nothing was published')
                    when {{ is_step }} {{ number.of[1] }}
                    then
                        not coalesce(
                            (code_after & {{ step_mask }}) = {{ number.of[1] }}
                            and (code_before & {{ step_mask }}) = {{ number.of[1] }}
                            and (code_after >> {{ time_bits + step_bits }})
                            = (code >> {{ time_bits + step_bits }})
                            and (code_before >> {{ time_bits + step_bits }})
                            = (code >> {{ time_bits + step_bits }})
                            {%- if entry_unit != "all" %}
                                and {{
                                    funnel_entry_date(
                                        time ~ "(code_after >> " ~ step_bits ~ ")" ~ in_us, entry_unit
                                    )
                                }}
                                = {{
                                    funnel_entry_date(
                                        time ~ "(code_before >> " ~ step_bits ~ ")" ~ in_us, entry_unit
                                    )
                                }}
                            {%- endif %},
                            false
                        )
                    else
                        not coalesce(
                            (code_before & {{ step_mask }}) = (code & {{ step_mask }})
                            and (code_before >> {{ time_bits + step_bits }})
                            = (code >> {{ time_bits + step_bits }}),
                            false
                        )
                end
        ),
        {%- for back in range(step_count - 1) %}
            {%- set position = step_count - back %}
            reach_{{ position }} as (
                select
                    code,
                    max(
                        case when {{ is_step }} {{ number.of[position] }} then code >> {{ step_bits }} end
                    ) {{ over }} as done_{{ position }}
                    {%- for later in range(position + 1, step_count + 1) %}
                        ,
                        max(
                            case when {{ is_step }} {{ number.of[position] }} then done_{{ later }} end
                        ) {{ over }} as done_{{ later }}
                    {%- endfor %}
                from reach_{{ position + 1 }}
                {%- if position < step_count %}
                    where not ({{ is_step }} {{ number.of[position + 1] }})
                {%- endif %}
            ),
        {%- endfor %}
        starts as (
            select
                code >> {{ step_bits }} as entered,
                {%- for position in range(2, step_count + 1) %}
                    case
                        when (done_{{ position }} >> {{ time_bits }}) = (code >> {{ time_bits + step_bits }})
                        then done_{{ position }}
                    end as done_{{ position }},
                {%- endfor %}
                {{ funnel_entry_date(time ~ "(code >> " ~ step_bits ~ ")" ~ in_us, entry_unit) }}
                as entry_date
            from reach_2
            where {{ is_step }} {{ number.of[1] }}
        ),
        -- A run: starts of one key and unit, one after the other, that go on with the same second step.
        runs as (
            select
                *,
                coalesce(
                    (lag(entered) over () >> {{ time_bits }}) = (entered >> {{ time_bits }})
                    and lag(entry_date) over () is not distinct from entry_date
                    and lag(done_2) over () is not distinct from done_2,
                    false
                ) as follows
            from starts
        ),
        ends as (select *, coalesce(lead(follows) over (), false) as is_followed from runs)
    select
        cast(entered >> {{ time_bits }} as bigint) as pair_key,
        {{ time }}entered{{ in_us }} as entered_us,
        {{ time }}entered{{ in_us }} as done_1_us
        {%- for position in range(2, step_count + 1) %}
            , {{ time }}done_{{ position }}{{ in_us }} as done_{{ position }}_us
        {%- endfor %}
    from ends
    where not (follows and is_followed)
{%- endmacro %}
