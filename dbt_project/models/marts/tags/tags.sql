with

    tag_values as (select * from {{ ref("catalog_tag_values") }}),

    final as (
        select
            cast(tag as {{ dbt.type_string() }}) as tag,
            cast(value as {{ dbt.type_string() }}) as value,
            cast(position as integer) as position,
            cast(title_zh as {{ dbt.type_string() }}) as title_zh,
            cast(title_en as {{ dbt.type_string() }}) as title_en
        from tag_values
    )

select *
from final
