{{
    config(
        materialized="by_date",
        meta={"by_date": "as_of_date"},
    )
}}

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
