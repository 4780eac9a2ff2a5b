with

    history as (
        select *
        from {{ ref("audience_history") }}
        where as_of_date between {{ add_days(as_of(), 1 - var("history_days")) }} and {{ as_of() }}
    ),

    definitions as (select * from {{ ref("catalog_audience_definitions") }}),

    numbered as (
        select
            audience,
            user_id,
            as_of_date,
            row_number() over (
                partition by audience, user_id order by as_of_date desc nulls last
            ) as day_number
        from history
    ),

    -- Days back from as_of without a gap: the n-th day back lies n - 1 days before as_of.
    runs as (
        select audience, user_id, min(as_of_date) as entered_date
        from numbered
        where {{ days_between("as_of_date", as_of()) }} = day_number - 1
        group by audience, user_id
    ),

    final as (
        select
            cast(runs.audience as {{ dbt.type_string() }}) as audience,
            cast(runs.user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(runs.entered_date as date) as entered_date,
            cast(
                coalesce(
                    {{ hash_bucket("definitions.holdout_salt", "runs.user_id") }}
                    < cast(definitions.holdout_buckets as bigint),
                    false
                ) as boolean
            ) as is_holdout
        from runs
        left join definitions on runs.audience = definitions.audience
    )

select *
from final
