with

    definitions as (select * from {{ ref("catalog_audience_definitions") }}),

    final as (
        select
            cast(audience as {{ dbt.type_string() }}) as audience,
            cast(title_zh as {{ dbt.type_string() }}) as title_zh,
            cast(title_en as {{ dbt.type_string() }}) as title_en,
            cast(owner as {{ dbt.type_string() }}) as owner,
            cast(description as {{ dbt.type_string() }}) as description,
            cast(definition as {{ dbt.type_string() }}) as definition,
            cast(definition_hash as {{ dbt.type_string() }}) as definition_hash,
            cast(user_limit as bigint) as user_limit,
            cast(holdout_percent as decimal(5, 2)) as holdout_percent,
            cast(columns as {{ dbt.type_string() }}) as columns,
            cast(tags as {{ dbt.type_string() }}) as tags,
            cast(identifiers as {{ dbt.type_string() }}) as identifiers,
            cast(formats as {{ dbt.type_string() }}) as formats,
            cast(expires_on as date) as expires_on
        from definitions
    )

select *
from final
