with
    statements as (select * from {{ ref("int_identity__statements") }}),
    written as (select * from {{ ref("int_identity__written") }}),
    identity_rules as (select * from {{ ref("identity_rules") }}),
    identifiers as (
        select id_type, id, identifier_key, min(first_arrived_on) as first_arrived_on
        from written
        where identifier_key is not null
        group by 1, 2, 3
    ),
    ruled as (
        select
            lower(trim(rules.action)) as action,
            least(a.identifier_key, b.identifier_key) as identifier_key_a,
            greatest(a.identifier_key, b.identifier_key) as identifier_key_b,
            greatest(min(a.first_arrived_on), min(b.first_arrived_on)) as stated_from
        from identity_rules as rules
        inner join
            identifiers as a
            on a.id_type = lower(trim(rules.id_type_a))
            and a.id = {{ normalised_id("rules.id_type_a", "rules.id_a") }}
        inner join
            identifiers as b
            on b.id_type = lower(trim(rules.id_type_b))
            and b.id = {{ normalised_id("rules.id_type_b", "rules.id_b") }}
        where a.identifier_key <> b.identifier_key
        group by 1, 2, 3
    ),
    excluded as (select * from ruled where action = 'exclude'),
    included as (
        select ruled.identifier_key_a, ruled.identifier_key_b, ruled.stated_from
        from ruled
        left join
            excluded
            on excluded.identifier_key_a = ruled.identifier_key_a
            and excluded.identifier_key_b = ruled.identifier_key_b
        where ruled.action = 'include' and excluded.action is null
    ),
    paired as (
        select
            statements.stated_by,
            a.identifier_key > b.identifier_key as is_turned,
            a.id_type as id_type_1,
            a.id as id_1,
            a.identifier_key as identifier_key_1,
            b.id_type as id_type_2,
            b.id as id_2,
            b.identifier_key as identifier_key_2,
            a.is_junk or b.is_junk as is_with_junk,
            statements.source,
            statements.first_linked_at,
            statements.stated_from,
            statements.stated_until
        from statements
        inner join written as a on a.written_id_type = statements.id_type_a and a.written_id = statements.id_a
        inner join written as b on b.written_id_type = statements.id_type_b and b.written_id = statements.id_b
    ),
    -- One row per pair and stretch, whichever side was written first and however often it was stated.
    pairs as (
        select
            stated_by,
            case when is_turned then id_type_2 else id_type_1 end as id_type_a,
            case when is_turned then id_2 else id_1 end as id_a,
            case when is_turned then identifier_key_2 else identifier_key_1 end as identifier_key_a,
            case when is_turned then id_type_1 else id_type_2 end as id_type_b,
            case when is_turned then id_1 else id_2 end as id_b,
            case when is_turned then identifier_key_1 else identifier_key_2 end as identifier_key_b,
            is_with_junk,
            stated_until,
            min(stated_from) as stated_from,
            min(source) as source,
            min(first_linked_at) as linked_at
        from paired
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9
    ),
    final as (
        select
            pairs.stated_by,
            pairs.source,
            pairs.id_type_a,
            pairs.id_a,
            pairs.identifier_key_a,
            pairs.id_type_b,
            pairs.id_b,
            pairs.identifier_key_b,
            pairs.linked_at,
            pairs.stated_from,
            pairs.stated_until,
            case
                when pairs.is_with_junk
                then 'junk_identifier'
                when pairs.identifier_key_a = pairs.identifier_key_b
                then 'same_identifier'
                when excluded.action is not null
                then 'excluded_by_rule'
            end as refused_because,
            included.identifier_key_a is not null as is_included
        from pairs
        left join
            excluded
            on excluded.identifier_key_a = pairs.identifier_key_a
            and excluded.identifier_key_b = pairs.identifier_key_b
        left join
            included
            on included.identifier_key_a = pairs.identifier_key_a
            and included.identifier_key_b = pairs.identifier_key_b
        union all
        select
            'identity_rules' as stated_by,
            cast(null as varchar) as source,
            a.id_type as id_type_a,
            a.id as id_a,
            a.identifier_key as identifier_key_a,
            b.id_type as id_type_b,
            b.id as id_b,
            b.identifier_key as identifier_key_b,
            cast(null as timestamp) as linked_at,
            included.stated_from,
            {{ open_end() }} as stated_until,
            cast(null as varchar) as refused_because,
            true as is_included
        from included
        inner join identifiers as a on a.identifier_key = included.identifier_key_a
        inner join identifiers as b on b.identifier_key = included.identifier_key_b
    )
select *
from final
