{{
    config(
        materialized="running",
        unique_key="pair_key",
        meta={"scratch": ["forms"]},
    )
}}

{%- set forward = is_forward() -%}
{%- if forward -%}
    {#- All forms in which the identifiers are written that a statement names which has changed. -#}
    {%- set forms -%}
        with
            statements as (
                select * from {{ ref("int_identity__statements") }} where changed_on > {{ forward_from() }}
            ),
            written as {{ inline() }} (select * from {{ ref("int_identity__written") }}),
            changed as (
                select actor_key_a as actor_key
                from statements
                union
                select actor_key_b as actor_key
                from statements
            ),
            identifiers as (
                select written.id_type, written.id
                from written
                inner join changed on changed.actor_key = written.actor_key
                group by 1, 2
            )
        select written.*
        from written
        inner join
            identifiers
            on identifiers.id is not distinct from written.id
            and identifiers.id_type is not distinct from written.id_type
    {%- endset -%}
    {%- set forms = counted_rows("forms", forms) -%}
{%- endif %}
with
    statements as {{ inline() }} (select * from {{ ref("int_identity__statements") }}),
    written as {{ inline() }} (select * from {{ ref("int_identity__written") }}),
    identity_rules as (select * from {{ ref("identity_rules") }}),
    ruled_identifiers as (
        {% for side in ["a", "b"] %}
            select
                lower(trim(id_type_{{ side }})) as id_type,
                {{ normalised_id("id_type_" ~ side, "id_" ~ side) }} as id
            from identity_rules
            {% if not loop.last %}
                union
            {% endif %}
        {% endfor %}
    ),
    identifiers as (
        select
            written.id_type,
            written.id,
            written.identifier_key,
            min(written.first_arrived_on) as first_arrived_on
        from written
        inner join
            ruled_identifiers
            on ruled_identifiers.id = written.id
            and ruled_identifiers.id_type = written.id_type
        where written.identifier_key is not null
        group by 1, 2, 3
    ),
    forms as ({% if forward %}{{ forms }}{% else %}select * from written{% endif %}),
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
        inner join forms as a on a.actor_key = statements.actor_key_a
        inner join forms as b on b.actor_key = statements.actor_key_b
    ),
    ordered as (
        select
            stated_by,
            case when is_turned then id_type_2 else id_type_1 end as id_type_a,
            case when is_turned then id_2 else id_1 end as id_a,
            case when is_turned then identifier_key_2 else identifier_key_1 end as identifier_key_a,
            case when is_turned then id_type_1 else id_type_2 end as id_type_b,
            case when is_turned then id_1 else id_2 end as id_b,
            case when is_turned then identifier_key_1 else identifier_key_2 end as identifier_key_b,
            is_with_junk,
            source,
            first_linked_at,
            stated_from,
            stated_until
        from paired
    ),
    keyed as (
        select *, {{ row_hash(["stated_by", "id_type_a", "id_a", "id_type_b", "id_b"]) }} as pair_key
        from ordered
    ),
    -- One row per pair and stretch, whichever side was written first and however often it was stated.
    pairs as (
        select
            pair_key,
            any_value(stated_by) as stated_by,
            any_value(id_type_a) as id_type_a,
            any_value(id_a) as id_a,
            any_value(identifier_key_a) as identifier_key_a,
            any_value(id_type_b) as id_type_b,
            any_value(id_b) as id_b,
            any_value(identifier_key_b) as identifier_key_b,
            bool_or(is_with_junk) as is_with_junk,
            stated_until,
            min(stated_from) as stated_from,
            min(source) as source,
            min(first_linked_at) as linked_at
        from keyed
        group by pair_key, stated_until
    ),
    together as (
        select
            pairs.pair_key,
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
            {{ row_hash(["'identity_rules'", "a.id_type", "a.id", "b.id_type", "b.id"]) }} as pair_key,
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
    ),
    final as (select *, {{ as_of() }} as changed_on from together)
select *
from final
