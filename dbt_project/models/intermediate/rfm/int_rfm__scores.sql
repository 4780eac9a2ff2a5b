{%- set scoring = rfm_setting("scoring") -%}
{%- set split = rfm_setting("split") -%}
with

    buyers as (select * from {{ ref("int_rfm__buyers") }}),

    cells as (select * from {{ ref("rfm_cells") }}),

    {%- if scoring == "quantile" %}
        -- Equal values have equal ranks, hence equal scores.
        ranked as (
            select
                *,
                count(*) over () as buyers_count,
                rank() over (order by last_order_date asc nulls first) as r_rank,
                rank() over (order by frequency asc nulls first) as f_rank,
                rank() over (order by monetary asc nulls first) as m_rank
            from buyers
        ),

        scored as (
            select
                user_id,
                last_order_date,
                recency_days,
                frequency,
                monetary,
                {%- for metric in ["r", "f", "m"] %}
                    cast(
                        1 + {{ integer_divide("5 * (" ~ metric ~ "_rank - 1)", "buyers_count") }} as integer
                    ) as {{ metric }}_score
                    {%- if not loop.last %},{% endif %}
                {%- endfor %}
            from ranked
        ),
    {%- else %}
        scored as (
            select
                user_id,
                last_order_date,
                recency_days,
                frequency,
                monetary,
                {{ rfm_bounds_score("recency_days", var("rfm_recency_bounds"), low_is_good=true) }}
                as r_score,
                {{ rfm_bounds_score("frequency", var("rfm_frequency_bounds")) }} as f_score,
                {{ rfm_bounds_score("monetary", var("rfm_monetary_bounds")) }} as m_score
            from buyers
        ),
    {%- endif %}

    {%- if split == "median" %}
        middle as (
            select
                percentile_cont(0.5) within group (order by r_score asc) as r_middle,
                percentile_cont(0.5) within group (order by f_score asc) as f_middle,
                percentile_cont(0.5) within group (order by m_score asc) as m_middle
            from scored
        ),
    {%- elif split in ("mean", "raw_mean") %}
        {%- set columns = (
            ["recency_days", "frequency", "monetary"]
            if split == "raw_mean"
            else ["r_score", "f_score", "m_score"]
        ) %}
        -- Compared as value * count > sum: exact, where a mean would be rounded.
        middle as (
            select
                count(*) as buyers_count,
                sum({{ columns[0] }}) as r_sum,
                sum({{ columns[1] }}) as f_sum,
                sum({{ columns[2] }}) as m_sum
            from scored
        ),
    {%- endif %}

    split as (
        select
            scored.*,
            {%- if split == "mean" %}
                r_score * middle.buyers_count > middle.r_sum as r_high,
                f_score * middle.buyers_count > middle.f_sum as f_high,
                m_score * middle.buyers_count > middle.m_sum as m_high
            {%- elif split == "raw_mean" %}
                recency_days * middle.buyers_count < middle.r_sum as r_high,
                frequency * middle.buyers_count > middle.f_sum as f_high,
                cast(monetary as decimal(38, 4)) * middle.buyers_count > middle.m_sum as m_high
            {%- elif split == "median" %}
                r_score > middle.r_middle as r_high,
                f_score > middle.f_middle as f_high,
                m_score > middle.m_middle as m_high
            {%- else %}
                r_score > {{ var("rfm_fixed_cut") }} as r_high,
                f_score > {{ var("rfm_fixed_cut") }} as f_high,
                m_score > {{ var("rfm_fixed_cut") }} as m_high
            {%- endif %}
        from scored
        {%- if split != "fixed" %} cross join middle {%- endif %}
    ),

    final as (
        select
            split.user_id,
            split.last_order_date,
            split.recency_days,
            split.frequency,
            split.monetary,
            split.r_score,
            split.f_score,
            split.m_score,
            split.r_high,
            split.f_high,
            split.m_high,
            cells.cell
        from split
        left join
            cells
            on split.r_high = cells.r_high
            and split.f_high = cells.f_high
            and split.m_high = cells.m_high
    )

select *
from final
