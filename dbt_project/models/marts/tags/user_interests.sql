with

    observed as (select * from {{ ref("int_tags__observed") }}),

    interests as (select tag from {{ ref("catalog_tag_sources") }} where kind = 'interest'),

    final as (
        select
            cast(observed.user_id as {{ dbt.type_string() }}) as user_id,
            cast(observed.tag as {{ dbt.type_string() }}) as tag,
            cast(observed.value as {{ dbt.type_string() }}) as value,
            cast(observed.place as integer) as place,
            cast(observed.weight as double) as weight,
            cast(observed.share as double) as share,
            cast(observed.first_on as date) as first_date,
            cast(observed.last_on as date) as last_date,
            cast(observed.expires_on as date) as expires_date,
            cast(observed.evidence_count as bigint) as evidence_count,
            cast(observed.last_activity as {{ dbt.type_string() }}) as last_activity
        from observed
        inner join interests on observed.tag = interests.tag
        where observed.is_set
    )

select *
from final
