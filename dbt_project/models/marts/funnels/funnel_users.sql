with
    entries as (select * from {{ ref("int_funnels__entries") }}),
    ranked_entries as (
        select
            *,
            row_number() over (
                partition by funnel, user_id, correlation_value, attempt_date
                order by level desc nulls last, completed_at asc nulls last, entered_at desc nulls last
            ) as entry_rank
        from entries
    ),
    final as (
        select
            cast(funnel as varchar) as funnel,
            cast(user_id as varchar) as user_id,
            cast(correlation_value as varchar) as correlation_value,
            cast(entered_at as timestamp) as entered_at,
            cast(level as integer) as level,
            cast(is_mature as boolean) as is_mature,
            cast(completed_at as timestamp) as completed_at
        from ranked_entries
        where entry_rank = 1
    )
select *
from final
