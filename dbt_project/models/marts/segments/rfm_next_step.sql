{#-
    What one buyer has to change so that one of recency, frequency and money turns high, everybody else standing still.
    The exact answer has to count that the buyer's own change moves others: whoever is overtaken has one buyer less below and may
    lose score, and the mean moves with both. Written with n buyers, L(x) of them below x and merit x rising from
    the buyer's own v: the buyer's score is 1 + 5 (L(x) - 1) / n; an overtaken w loses
    5 L(w) / n - 5 (L(w) - 1) / n points, in whole numbers. So "high" becomes g(x) > h(v) with g rising in x, and the least x is found by one sort.
-#}
{%- set scoring = rfm_setting("scoring") -%}
{%- set split = rfm_setting("split") -%}
{%- set metrics = {
    "r": {
        "name": "recency",
        "unit": "days",
        "merit": "-1 * cast(recency_days as bigint)",
        "order": 3,
    },
    "f": {
        "name": "frequency",
        "unit": "order_days" if rfm_setting("frequency") == "days" else "orders",
        "merit": "cast(frequency as bigint)",
        "order": 1,
    },
    "m": {
        "name": "monetary",
        "unit": "money",
        "merit": "cast(monetary * 10000 as bigint)",
        "order": 2,
    },
} -%}
with

    scores as (select * from {{ ref("int_rfm__scores") }}),

    buyers as (select user_id, first_order_date from {{ ref("int_rfm__buyers") }}),

    cells as (select * from {{ ref("rfm_cells") }}),

    -- Merit: more is better; days count negative, money in ten thousandths.
    merits as (
        select
            scores.*,
            buyers.first_order_date
            {%- for metric, its in metrics.items() %}, {{ its.merit }} as {{ metric }}_merit {%- endfor %}
        from scores
        left join buyers on scores.user_id = buyers.user_id
    ),

    totals as (
        select
            cast(count(*) as bigint) as buyers_count
            {%- for metric in metrics %}
                ,
                cast(sum({{ metric }}_score) as bigint) as {{ metric }}_score_sum,
                sum({{ metric }}_merit) as {{ metric }}_merit_sum
            {%- endfor %}
        from merits
    ),

    {%- for metric, its in metrics.items() %}

        {{ metric }}_held as (
            select
                {{ metric }}_merit as merit,
                {{ metric }}_score as score,
                {{ metric }}_high as is_high,
                cast(count(*) as bigint) as peers
            from merits
            group by {{ metric }}_merit, {{ metric }}_score, {{ metric }}_high
        ),

        {%- if split == "raw_mean" %}

            {{ metric }}_targets as (
                select
                    held.merit,
                    {%- if metric == "r" %}
                        case
                            when totals.r_merit_sum < held.merit
                            then
                                -1
                                * {{
                                    integer_divide(
                                        "held.merit - totals.r_merit_sum - 1",
                                        "nullif(totals.buyers_count - 1, 0)",
                                    )
                                }}
                        end as target
                    {%- else %}
                        {{
                            integer_divide(
                                "totals." ~ metric ~ "_merit_sum - held.merit",
                                "nullif(totals.buyers_count - 1, 0)",
                            )
                        }} + 1 as target
                    {%- endif %}
                from {{ metric }}_held as held
                cross join totals
                where not held.is_high
            ),

        {%- else %}

            {%- if scoring == "quantile" %}

                -- Each held value, and the first one above it.
                {{ metric }}_values as (
                    select merit, sum(peers) as peers
                    from
                        (
                            select merit, peers
                            from {{ metric }}_held
                            union all
                            select merit + 1 as merit, 0 as peers
                            from {{ metric }}_held
                        ) as steps
                    group by merit
                ),

                {{ metric }}_ranked as (
                    select
                        merit,
                        peers,
                        cast(
                            coalesce(
                                sum(peers) over (
                                    order by merit asc nulls last
                                    rows between unbounded preceding and 1 preceding
                                ),
                                0
                            ) as bigint
                        ) as below
                    from {{ metric }}_values
                ),

                {{ metric }}_ladder as (
                    select
                        ranked.merit,
                        1 + {{ integer_divide("5 * (ranked.below - 1)", "totals.buyers_count") }} as score,
                        cast(
                            sum(
                                case
                                    when ranked.below > 0
                                    then
                                        ranked.peers * (
                                            {{ integer_divide("5 * ranked.below", "totals.buyers_count") }}
                                            - {{
                                                integer_divide(
                                                    "5 * (ranked.below - 1)", "totals.buyers_count"
                                                )
                                            }}
                                        )
                                    else 0
                                end
                            ) over (order by ranked.merit asc nulls last rows unbounded preceding) as bigint
                        ) as lowered,
                        ranked.below
                    from {{ metric }}_ranked as ranked
                    cross join totals
                ),

                {{ metric }}_candidates as (
                    select merit, score, lowered, min(below) over (partition by score) - 1 as scored_less
                    from {{ metric }}_ladder
                    where below > 0
                ),
            {%- else %}
                {%- set bounds = var("rfm_" ~ its.name ~ "_bounds") %}

                {{ metric }}_ladder as (select merit, 0 as lowered from {{ metric }}_held group by merit),

                {{ metric }}_candidates as (
                    select
                        bounds.merit,
                        bounds.score,
                        0 as lowered,
                        (
                            select coalesce(sum(held.peers), 0)
                            from {{ metric }}_held as held
                            where held.score < bounds.score
                        )
                        - 1 as scored_less
                    from
                        (
                            values
                                {%- for bound in bounds %}
                                    {%- if metric == "r" %}
                                        (cast({{ -1 * bound }} as bigint), {{ 5 - loop.index0 }})
                                    {%- elif metric == "f" %}
                                        (cast({{ bound + 1 }} as bigint), {{ loop.index + 1 }})
                                    {%- else %}
                                        (
                                            cast({{ (bound * 10000) | int + 1 }} as bigint),
                                            {{ loop.index + 1 }}
                                        )
                                    {%- endif %}
                                    {%- if not loop.last %}, {% endif %}
                                {%- endfor %}
                        ) as bounds(merit, score)
                ),
            {%- endif %}

            {{ metric }}_steps as (
                select
                    {%- if split == "mean" %}
                        totals.{{ metric }}_score_sum - held.score + ladder.lowered as grade,
                    {%- else %} cast(held.score as bigint) as grade,
                    {%- endif %}
                    0 as is_candidate,
                    held.merit,
                    cast(null as bigint) as target
                from {{ metric }}_held as held
                inner join {{ metric }}_ladder as ladder on held.merit = ladder.merit
                cross join totals
                where not held.is_high
                union all
                select
                    {%- if split == "mean" %}
                        (totals.buyers_count - 1) * candidates.score + candidates.lowered as grade,
                    {%- else %} cast(candidates.score as bigint) as grade,
                    {%- endif %}
                    1 as is_candidate,
                    cast(null as bigint) as merit,
                    candidates.merit as target
                from {{ metric }}_candidates as candidates
                cross join totals
                {%- if split == "median" %} where 2 * candidates.scored_less >= totals.buyers_count
                {%- elif split == "fixed" %} where candidates.score > {{ var("rfm_fixed_cut") }}
                {%- endif %}
            ),

            -- The least target of a higher grade than one's own.
            {{ metric }}_aimed as (
                select
                    is_candidate,
                    merit,
                    min(target) over (
                        order by grade desc nulls last, is_candidate asc nulls last rows unbounded preceding
                    ) as target
                from {{ metric }}_steps
            ),

            {{ metric }}_targets as (select merit, target from {{ metric }}_aimed where is_candidate = 0),
        {%- endif %}
    {%- endfor %}

    gaps as (
        {%- for metric, its in metrics.items() %}
            {%- if not loop.first %}
                union all
            {%- endif %}
            select
                merits.user_id,
                '{{ its.name }}' as metric,
                '{{ its.unit }}' as unit,
                {{ its.order }} as metric_order,
                merits.cell,
                merits.first_order_date,
                {%- for other in metrics %}
                    {{ "true" if other == metric else "merits." ~ other ~ "_high" }} as {{ other }}_high,
                {%- endfor %}
                {%- if metric == "r" %}
                    cast(merits.recency_days as decimal(18, 4)) as current_value,
                    case
                        when targets.target <= 0 then cast(-1 * targets.target as decimal(18, 4))
                    end as needed_value,
                    1 as orders_needed
                {%- elif metric == "f" %}
                    cast(merits.frequency as decimal(18, 4)) as current_value,
                    cast(targets.target as decimal(18, 4)) as needed_value,
                    targets.target - merits.f_merit as orders_needed
                {%- else %}
                    merits.monetary as current_value,
                    -- In whole hundredths, upwards.
                    merits.monetary + cast(
                        {{ integer_divide("targets.target - merits.m_merit + 99", "100") }} as decimal(18, 0)
                    )
                    * cast(0.01 as decimal(4, 2)) as needed_value,
                    case
                        when merits.m_merit > 0
                        then
                            {{
                                integer_divide(
                                    "(targets.target - merits.m_merit) * merits.f_merit + merits.m_merit - 1",
                                    "merits.m_merit",
                                )
                            }}
                        else 1
                    end as orders_needed
                {%- endif %}
            from merits
            left join {{ metric }}_targets as targets on merits.{{ metric }}_merit = targets.merit
            where not merits.{{ metric }}_high
        {%- endfor %}
    ),

    steps as (
        select
            gaps.*,
            cells.cell as to_cell,
            cells.cell_zh,
            cells.cell_en,
            cells.priority,
            abs(cast(needed_value - current_value as decimal(18, 4))) as gap,
            needed_value is not null as is_reachable,
            {%- if var("rfm_window_days") is none %}
                {{ add_days(as_of(), var("rfm_next_step_days")) }} as by_date
            {%- else %}
                -- On the day after, the oldest order has left the window.
                least(
                    {{ add_days(as_of(), var("rfm_next_step_days")) }},
                    {{ add_days("first_order_date", var("rfm_window_days")) }}
                ) as by_date
            {%- endif %}
        from gaps
        left join
            cells on gaps.r_high = cells.r_high and gaps.f_high = cells.f_high and gaps.m_high = cells.m_high
    ),

    ranked as (
        select
            *,
            row_number() over (
                partition by user_id
                order by
                    is_reachable desc nulls last,
                    orders_needed asc nulls last,
                    priority asc nulls last,
                    metric_order asc nulls last
            ) as step_rank
        from steps
    ),

    final as (
        select
            cast(user_id as varchar) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(metric as varchar) as metric,
            cast(cell as varchar) as cell,
            cast(to_cell as varchar) as to_cell,
            cast(unit as varchar) as unit,
            cast(current_value as decimal(18, 4)) as current_value,
            cast(needed_value as decimal(18, 4)) as needed_value,
            cast(gap as decimal(18, 4)) as gap,
            cast(is_reachable as boolean) as is_reachable,
            cast(case when is_reachable then orders_needed end as bigint) as orders_needed,
            cast(case when is_reachable then by_date end as date) as by_date,
            cast(step_rank as integer) as step_rank,
            cast(
                case
                    when not is_reachable
                    then null
                    when metric = 'recency'
                    then cast(by_date as varchar) || ' 前再下一单，进入' || cell_zh
                    when metric = 'frequency'
                    then
                        cast(by_date as varchar)
                        || ' 前再下 '
                        || cast(cast(gap as bigint) as varchar)
                        || ' 单，进入'
                        || cell_zh
                    else
                        cast(by_date as varchar)
                        || ' 前再消费 '
                        || cast(cast(gap as decimal(18, 2)) as varchar)
                        || '，进入'
                        || cell_zh
                end as varchar
            ) as step_zh,
            cast(
                case
                    when not is_reachable
                    then null
                    when metric = 'recency'
                    then 'One order by ' || cast(by_date as varchar) || ' moves to ' || cell_en
                    when metric = 'frequency'
                    then
                        cast(cast(gap as bigint) as varchar)
                        || ' more order(s) by '
                        || cast(by_date as varchar)
                        || ' move to '
                        || cell_en
                    else
                        'Spending '
                        || cast(cast(gap as decimal(18, 2)) as varchar)
                        || ' more by '
                        || cast(by_date as varchar)
                        || ' moves to '
                        || cell_en
                end as varchar
            ) as step_en
        from ranked
    )

select *
from final
