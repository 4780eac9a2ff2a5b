with

    wide_days as (select * from {{ ref("user_wide_daily") }}),

    users as ({{ day_by_day("wide_days", ["aipl_stage", "acquisition_channel"]) }}),

    final as (
        select
            cast(as_of_date as date) as as_of_date,
            cast(coalesce(to_acquisition_channel, from_acquisition_channel, 'unknown') as varchar) as channel,
            cast(
                case when was_user then coalesce(from_aipl_stage, 'unknown') else 'not_yet' end as varchar
            ) as from_stage,
            cast(
                case when is_user then coalesce(to_aipl_stage, 'unknown') else 'gone' end as varchar
            ) as to_stage,
            cast(count(*) as bigint) as users
        from users
        group by
            as_of_date,
            coalesce(to_acquisition_channel, from_acquisition_channel, 'unknown'),
            case when was_user then coalesce(from_aipl_stage, 'unknown') else 'not_yet' end,
            case when is_user then coalesce(to_aipl_stage, 'unknown') else 'gone' end
    )

select *
from final
