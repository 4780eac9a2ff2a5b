with
    sightings as (select * from {{ ref("int_identity__sightings") }}),
    junk_identifiers as (select * from {{ ref("junk_identifiers") }}),
    identifier_types as (select * from {{ ref("identifier_types") }}),
    written as (
        select
            *,
            lower(trim(written_id_type)) as id_type,
            {{ normalised_id("written_id_type", "written_id") }} as id
        from sightings
    ),
    judged as (
        select
            written.*,
            {{ is_placeholder_id("written.written_id_type", "written.written_id") }}
            or {{ is_placeholder_id("written.written_id_type", "written.id") }}
            or everywhere.value is not null
            or in_kind.value is not null as is_junk
        from written
        left join
            junk_identifiers as everywhere
            on everywhere.id_type = '*'
            and lower(everywhere.value) = lower(written.id)
        left join
            junk_identifiers as in_kind
            on in_kind.id_type = written.id_type
            and lower(in_kind.value) = lower(written.id)
    ),
    identifiers as (
        select id_type, id, min(first_sighting) as first_sighting from judged where not is_junk group by 1, 2
    ),
    -- Whatever is known later is numbered later: an identifier keeps its number while days go on.
    numbered as (
        select
            identifiers.id_type,
            identifiers.id,
            row_number() over (
                order by
                    identifiers.first_sighting nulls last,
                    coalesce(kind.priority, other.priority) nulls last,
                    identifiers.id_type nulls last,
                    identifiers.id nulls last
            ) as identifier_key
        from identifiers
        left join identifier_types as kind on kind.id_type = identifiers.id_type
        left join identifier_types as other on other.id_type = '*'
    ),
    final as (
        select
            judged.written_id_type,
            judged.written_id,
            judged.id_type,
            judged.id,
            judged.is_junk,
            case when not judged.is_junk then numbered.identifier_key end as identifier_key,
            judged.first_seen_at,
            judged.last_seen_at,
            judged.first_arrived_on,
            judged.is_current
        from judged
        left join numbered on numbered.id_type = judged.id_type and numbered.id = judged.id
    )
select *
from final
