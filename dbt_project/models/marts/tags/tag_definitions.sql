with

    definitions as (select * from {{ ref("catalog_tag_definitions") }}),

    final as (
        select
            cast(tag as {{ dbt.type_string() }}) as tag,
            cast(title_zh as {{ dbt.type_string() }}) as title_zh,
            cast(title_en as {{ dbt.type_string() }}) as title_en,
            cast(category as {{ dbt.type_string() }}) as category,
            cast(category_zh as {{ dbt.type_string() }}) as category_zh,
            cast(category_en as {{ dbt.type_string() }}) as category_en,
            cast(family as {{ dbt.type_string() }}) as family,
            cast(family_zh as {{ dbt.type_string() }}) as family_zh,
            cast(family_en as {{ dbt.type_string() }}) as family_en,
            cast(description as {{ dbt.type_string() }}) as description,
            cast(value_type as {{ dbt.type_string() }}) as value_type,
            cast(rule as {{ dbt.type_string() }}) as rule,
            cast(rule_hash as {{ dbt.type_string() }}) as rule_hash,
            cast(source as {{ dbt.type_string() }}) as source,
            cast(validity_days as integer) as validity_days,
            cast(refresh as {{ dbt.type_string() }}) as refresh,
            cast(owner as {{ dbt.type_string() }}) as owner,
            cast(status as {{ dbt.type_string() }}) as status,
            cast(parent as {{ dbt.type_string() }}) as parent,
            cast(empty_result as {{ dbt.type_string() }}) as empty_result,
            cast(evidence as {{ dbt.type_string() }}) as evidence,
            cast(ask_zh as {{ dbt.type_string() }}) as ask_zh,
            cast(ask_en as {{ dbt.type_string() }}) as ask_en
        from definitions
    )

select *
from final
