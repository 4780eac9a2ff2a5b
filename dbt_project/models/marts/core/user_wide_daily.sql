{{
    config(
        materialized="incremental",
        incremental_strategy="delete+insert",
        unique_key="as_of_date",
        full_refresh=false,
        on_schema_change="append_new_columns",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where as_of_date = {{ as_of() }} and not exists (select 1 from {{ ref('user_wide') }}){% endif %}",
        post_hook="delete from {{ this }} where {{ wide_day_expired('as_of_date', this) }}",
        meta={"by_date": "as_of_date", "kept_days": "wide"},
    )
}}

-- The hooks empty the day also when there is no user any more, and drop days that are kept no longer. Where
-- there are users nothing is deleted first: a new column could then not be added in the same transaction.
-- Sorted by user, so that columns of few values lie together.
with final as (select * from {{ ref("user_wide") }})

select *
from final
