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

-- The hook empties the day also when nobody is left out any more; then no new row would tell which day to
-- replace.
with

    candidates as (select * from {{ ref("int_audiences__candidates") }}),

    final as (
        select
            cast(audience as {{ dbt.type_string() }}) as audience,
            cast({{ as_of() }} as date) as as_of_date,
            cast(suppressed_by as {{ dbt.type_string() }}) as reason,
            cast(count(*) as bigint) as users_count
        from candidates
        where suppressed_by is not null
        group by audience, suppressed_by
    )

select *
from final
