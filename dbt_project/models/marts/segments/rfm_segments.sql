with

    scores as (select * from {{ ref("int_rfm__scores") }}),

    cells as (select * from {{ ref("rfm_cells") }}),

    final as (
        select
            cast(scores.user_id as varchar) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(scores.last_order_date as date) as last_order_date,
            cast(scores.recency_days as integer) as recency_days,
            cast(scores.frequency as integer) as frequency,
            cast(scores.monetary as decimal(18, 4)) as monetary,
            cast(scores.r_score as integer) as r_score,
            cast(scores.f_score as integer) as f_score,
            cast(scores.m_score as integer) as m_score,
            cast(scores.r_high as boolean) as r_high,
            cast(scores.f_high as boolean) as f_high,
            cast(scores.m_high as boolean) as m_high,
            cast(scores.cell as varchar) as cell,
            cast(cells.cell_zh as varchar) as cell_zh,
            cast(cells.cell_en as varchar) as cell_en,
            cast(cells.strategy_zh as varchar) as strategy_zh,
            cast(cells.strategy_en as varchar) as strategy_en,
            cast('{{ rfm_method() }}' as varchar) as method
        from scores
        left join cells on scores.cell = cells.cell
    )

select *
from final
