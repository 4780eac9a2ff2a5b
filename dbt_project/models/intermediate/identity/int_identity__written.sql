{{ config(materialized="running", unique_key="actor_key") }}

{%- set forward = is_forward() %}

with
    sightings as (select * from {{ ref("int_identity__sightings") }}),
    junk_identifiers as (select * from {{ ref("junk_identifiers") }}),
    identifier_types as (select * from {{ ref("identifier_types") }}),
    {% if forward %}
        held as (
            select held.* from {{ this }} as held inner join sightings on sightings.actor_key = held.actor_key
        ),
        new_sightings as (
            select sightings.*
            from sightings
            left join held on held.actor_key = sightings.actor_key
            where held.actor_key is null and sightings.first_seen_at is not null
        ),
    {% endif %}
    written as (
        select
            *,
            lower(trim(written_id_type)) as id_type,
            {{ normalised_id("written_id_type", "written_id") }} as id
        from {{ "new_sightings" if forward else "sightings" }}
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
    {% if forward %}
        -- Those that were written in another form before.
        known_identifiers as (
            select identifiers.id_type, identifiers.id, min(known.identifier_key) as identifier_key
            from identifiers
            inner join
                {{ this }} as known on known.id = identifiers.id and known.id_type = identifiers.id_type
            group by 1, 2
        ),
        last_number as (select coalesce(max(identifier_key), 0) as identifier_key from {{ this }}),
    {% endif %}
    -- Whatever is known later is numbered later: an identifier keeps its number while days go on.
    numbered as (
        select
            identifiers.id_type,
            identifiers.id,
            {% if forward %} last_number.identifier_key + {% endif %}
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
        {% if forward %}
            cross join last_number
            left join
                known_identifiers as known
                on known.id_type = identifiers.id_type
                and known.id = identifiers.id
            where known.id is null
            union all
            select id_type, id, identifier_key
            from known_identifiers
        {% endif %}
    ),
    together as (
        select
            judged.actor_key,
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
        {% if forward %}
            union all
            -- What is known later never changes the first day.
            select
                held.actor_key,
                held.written_id_type,
                held.written_id,
                held.id_type,
                held.id,
                held.is_junk,
                held.identifier_key,
                least(held.first_seen_at, sightings.first_seen_at) as first_seen_at,
                greatest(held.last_seen_at, sightings.last_seen_at) as last_seen_at,
                held.first_arrived_on,
                sightings.is_current
            from held
            inner join sightings on sightings.actor_key = held.actor_key
        {% endif %}
    ),
    final as (select *, {{ as_of() }} as changed_on from together)
select *
from final
