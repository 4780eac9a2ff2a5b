with
    links as (select * from {{ ref("int_identity__links") }}),
    final as (
        select
            stated_by,
            id_type_a,
            id_a,
            id_type_b,
            id_b,
            linked_at,
            first_arrived_on,
            refused_because,
            case
                when refused_because = 'above_limit' and shared_identifier_key = identifier_key_a
                then id_type_a
                when refused_because = 'above_limit'
                then id_type_b
            end as shared_id_type
        from links
        where refused_because is not null
    )
select *
from final
