{%- set features = cluster_features() -%}
{%- set rounds = 12 -%}
with

    levels as (select * from {{ ref("int_users__levels") }}),

    archetypes as (select * from {{ ref("cluster_archetypes") }}),

    -- Ids are keyed hashes: the first of them in order are a sample by chance that stays nearly the same
    -- from day to day.
    sample as (select * from levels order by user_id asc nulls last limit {{ var("clusters_sample_users") }}),

    centres_0 as (
        select
            cluster,
            cast(row_number() over (order by cluster asc nulls last) as bigint) as cluster_order
            {%- for feature in features %}, cast({{ feature }} as bigint) as {{ feature }} {%- endfor %}
        from archetypes
    ),

    {%- for round in range(rounds) %}

        round_{{ round + 1 }} as ({{ nearest_centre("sample", "centres_" ~ round, features) }}),

        -- Halfway between the mean of its members and its start, so that the name keeps its sense.
        means_{{ round + 1 }} as (
            select
                cluster_order,
                count(*) as members
                {%- for feature in features %}, sum({{ feature }}) as {{ feature }} {%- endfor %}
            from round_{{ round + 1 }}
            group by cluster_order
        ),

        centres_{{ round + 1 }} as {{ computed_once() }} (
            select
                centres.cluster,
                centres.cluster_order
                {%- for feature in features %}
                    ,
                    case
                        when means.members is null
                        then centres.{{ feature }}
                        else
                            cast(
                                {{
                                    integer_divide(
                                        "means." ~ feature ~ " + means.members * centres." ~ feature,
                                        "2 * means.members",
                                    )
                                }} as bigint
                            )
                    end as {{ feature }}
                {%- endfor %}
            from centres_0 as centres
            left join means_{{ round + 1 }} as means on centres.cluster_order = means.cluster_order
        ),
    {%- endfor %}

    assigned as ({{ nearest_centre("levels", "centres_" ~ rounds, features) }}),

    final as (
        select
            cast(assigned.user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(centres.cluster as {{ dbt.type_string() }}) as cluster,
            cast(archetypes.title_zh as {{ dbt.type_string() }}) as cluster_zh,
            cast(archetypes.title_en as {{ dbt.type_string() }}) as cluster_en
            {%- for feature in features %}
                , cast(assigned.{{ feature }} as integer) as {{ feature }}_level
            {%- endfor %}
        from assigned
        inner join centres_{{ rounds }} as centres on assigned.cluster_order = centres.cluster_order
        inner join archetypes on centres.cluster = archetypes.cluster
    )

select *
from final
