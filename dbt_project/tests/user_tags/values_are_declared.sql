{{ config(meta={"dagster": {"ref": {"name": "user_tags"}}}) }}
-- A tag is in the catalogue and active; where its values are declared, it takes one of them.
with

    used as (select distinct tag, value from {{ ref("user_tags") }}),

    definitions as (select * from {{ ref("tag_definitions") }}),

    tag_values as (select * from {{ ref("tags") }}),

    final as (
        select used.tag, used.value
        from used
        left join definitions on used.tag = definitions.tag
        left join tag_values on used.tag = tag_values.tag and used.value = tag_values.value
        where
            definitions.tag is null
            or definitions.status <> 'active'
            or (definitions.value_type in ('boolean', 'enum') and tag_values.tag is null)
    )

select *
from final
