with

    scores as (select * from {{ ref("int_rfm__scores") }}),

    metrics as (select * from (values ('recency'), ('frequency'), ('monetary')) as metrics(metric)),

    levels as (select * from (values (1), (2), (3), (4), (5)) as levels(score)),

    held as (
        select 'recency' as metric, r_score as score, count(*) as users
        from scores
        group by r_score
        union all
        select 'frequency' as metric, f_score as score, count(*) as users
        from scores
        group by f_score
        union all
        select 'monetary' as metric, m_score as score, count(*) as users
        from scores
        group by m_score
    ),

    final as (
        select
            cast(metrics.metric as varchar) as metric,
            cast(levels.score as integer) as score,
            cast({{ as_of() }} as date) as as_of_date,
            cast(coalesce(held.users, 0) as bigint) as users,
            cast(held.users is not null as boolean) as is_reachable
        from metrics
        cross join levels
        left join held on metrics.metric = held.metric and levels.score = held.score
    )

select *
from final
