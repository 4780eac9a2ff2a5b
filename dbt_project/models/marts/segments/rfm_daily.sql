{{
    config(
        materialized="incremental",
        incremental_strategy="delete+insert",
        unique_key="as_of_date",
        full_refresh=false,
        on_schema_change="append_new_columns",
        pre_hook="{% if is_incremental() %}delete from {{ this }} where as_of_date = {{ as_of() }}{% endif %}",
        meta={"by_date": "as_of_date"},
    )
}}

-- The hook empties the day also when nobody is a buyer any more; then no new row would tell which day to
-- replace.
with

    scores as (select * from {{ ref("int_rfm__scores") }}),

    final as (
        select
            cast(user_id as varchar) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(cell as varchar) as cell,
            cast(monetary as decimal(18, 4)) as monetary
        from scores
    )

select *
from final
