{{
    config(
        materialized="running",
        unique_key=["written_id_type", "written_id"],
        meta={"scratch": ["again"]},
    )
}}

{#- The large tables: key and moment. -#}
{%- set tables = [
    ("events", ["event_id"], "occurred_at"),
    ("touches", ["touch_id", "status"], "occurred_at"),
] -%}
{%- set forward = is_forward() -%}
{%- if forward -%}
    {%- set again -%}
        {% for table, key, seen_at in tables %}
            select distinct '{{ table }}' as table_name, key_hash
            from ({{ awakened_keys(table, seen_at) }}) as awakened
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    {%- endset -%}
    {%- set again = counted_rows("again", again) -%}
{%- endif %}
with
    business_days as ({{ business_days() }}),
    reissued as (select * from {{ ref("int_identity__reissued") }}),
    stream as {{ inline() }} (select * from {{ ref("int_activity__stream") }}),
    {% if not forward %}
        {% for table, key, seen_at in tables %}
            {{ table }} as (
                select
                    id_type,
                    id,
                    {{ seen_at }} as seen_at,
                    key_hash,
                    {% if table == "events" %} {{ counts_from("_arrived_on") }}
                    {% else %} _arrived_on
                    {% endif %} as in_force_from,
                    {{ open_end() }} as in_force_until
                from
                    (
                        {% if table == "events" %}
                            select *, event_key as key_hash
                            from
                                (
                                    {{ current_events(["id_type", "id", "occurred_at", "_arrived_on"]) }}
                                ) as current_events
                        {% else %}
                            select *, {{ row_hash(key) }} as key_hash from {{ ref("stg_raw__" ~ table) }}
                        {% endif %}
                    ) as staged
                where key_hash not in (select key_hash from reissued where table_name = '{{ table }}')
                union all
                select id_type, id, seen_at, key_hash, in_force_from, in_force_until
                from reissued
                where table_name = '{{ table }}'
            ),
        {% endfor %}
    {% else %}
        {% for table, key, seen_at in tables %}
            {{ table }} as (
                select *, {{ seen_at }} as seen_at
                from ({{ versions_since(table, ["id_type", "id", seen_at], again) }}) as versions
            ),
        {% endfor %}
    {% endif %}
    -- Aggregated in each table first: few rows are then put together, however many facts there are.
    sightings as (
        {% for table, key, seen_at in tables %}
            {{ identifier_sightings(table, "id_type", "id", "seen_at", key_hash="key_hash") }}
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    found as (
        select
            written_id_type,
            written_id,
            min(first_seen_at) as first_seen_at,
            max(last_seen_at) as last_seen_at,
            min(first_arrived_on) as first_arrived_on,
            min(first_sighting) as first_sighting,
            bool_or(is_current) as is_current,
            max(witness) as witness
        from sightings
        group by 1, 2
    ),
    {% if forward %}
        -- Identifiers whose witness has another version now: another record may still name them.
        rewritten as (
            {% for table, key, seen_at in tables %}
                select key_hash
                from {{ table }}
                {% if not loop.last %}
                    union
                {% endif %}
            {% endfor %}
        ),
        doubtful as (
            select held.written_id_type, held.written_id
            from {{ this }} as held
            inner join rewritten on rewritten.key_hash = held.witness
        ),
        confirmed as (
            select doubtful.written_id_type, doubtful.written_id, max(stream.activity_key) as witness
            from stream
            inner join
                doubtful
                on {{ row_hash(["doubtful.written_id_type", "doubtful.written_id"]) }} = stream.actor_key
            where stream.removed_on is null
            group by 1, 2
        ),
        touched as (
            select written_id_type, written_id
            from found
            union
            select written_id_type, written_id
            from doubtful
        ),
        witnessed as (
            select
                touched.written_id_type,
                touched.written_id,
                least(found.first_seen_at, held.first_seen_at) as first_seen_at,
                greatest(found.last_seen_at, held.last_seen_at) as last_seen_at,
                least(found.first_arrived_on, held.first_arrived_on) as first_arrived_on,
                least(found.first_sighting, held.first_sighting) as first_sighting,
                coalesce(
                    found.witness,
                    case when doubtful.written_id is null then held.witness else confirmed.witness end
                ) as witness
            from touched
            left join
                found
                on found.written_id_type = touched.written_id_type
                and found.written_id = touched.written_id
            left join
                {{ this }} as held
                on held.written_id_type = touched.written_id_type
                and held.written_id = touched.written_id
            left join
                doubtful
                on doubtful.written_id_type = touched.written_id_type
                and doubtful.written_id = touched.written_id
            left join
                confirmed
                on confirmed.written_id_type = touched.written_id_type
                and confirmed.written_id = touched.written_id
        ),
    {% else %} witnessed as (select * from found),
    {% endif %}
    final as (
        select
            written_id_type,
            written_id,
            first_seen_at,
            last_seen_at,
            first_arrived_on,
            first_sighting,
            witness is not null as is_current,
            witness,
            {{ row_hash(["written_id_type", "written_id"]) }} as actor_key,
            {{ as_of() }} as changed_on
        from witnessed
    )
select *
from final
