with
    links as (select * from {{ ref("int_identity__links") }}),
    grown as (select * from {{ ref("int_identity__grown") }}),
    anchored as (
        select
            links.*,
            coalesce(a.component, links.identifier_key_a) as anchor_a,
            coalesce(b.component, links.identifier_key_b) as anchor_b
        from links
        left join grown as a on a.node = links.identifier_key_a
        left join grown as b on b.node = links.identifier_key_b
    ),
    final as (
        select identifier_key_a, identifier_key_b, anchor_a, anchor_b, counts_from, counts_until
        from anchored
        where anchor_a <> anchor_b
    )
select *
from final
