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
            cast(user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date
        from candidates
        where is_member
    )

select *
from final
