with
    stated as (select * from {{ ref("int_identity__stated") }} where stated_until = {{ open_end() }}),
    links as (select * from {{ ref("int_identity__links") }} where counts_until = {{ open_end() }}),
    shared as (
        select identifier_key, min(id_type) as id_type
        from {{ ref("int_identity__shared") }}
        where shared_until = {{ open_end() }}
        group by 1
    ),
    refused as (
        select stated.*, coalesce(stated.refused_because, 'above_limit') as reason
        from stated
        left join
            links
            on links.identifier_key_a = stated.identifier_key_a
            and links.identifier_key_b = stated.identifier_key_b
        where stated.refused_because is not null or links.identifier_key_a is null
    ),
    final as (
        select
            refused.stated_by,
            refused.id_type_a,
            refused.id_a,
            refused.identifier_key_a,
            refused.id_type_b,
            refused.id_b,
            refused.identifier_key_b,
            refused.linked_at,
            refused.stated_from,
            refused.reason as refused_because,
            case
                when refused.reason = 'above_limit' then coalesce(shared_a.id_type, shared_b.id_type)
            end as shared_id_type,
            case
                when refused.reason = 'above_limit'
                then coalesce(shared_a.identifier_key, shared_b.identifier_key)
            end as shared_identifier_key
        from refused
        left join shared as shared_a on shared_a.identifier_key = refused.identifier_key_a
        left join shared as shared_b on shared_b.identifier_key = refused.identifier_key_b
    )
select *
from final
