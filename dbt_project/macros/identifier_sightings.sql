{#-
    The identifiers that a relation of record versions (record_versions) names, as written. One row per identifier:
    first and last moment, the first business day at whose end it was known, the rank of its first sighting, whether a
    version that counts on as_of names it. Needs `business_days` among the CTEs. With `key_hash`, a column of the relation,
    also the hash of one record that names it on as_of, its witness.
-#}
{% macro identifier_sightings(relation, id_type, id, seen_at, key_hash=none) -%}
    select
        written_id_type,
        written_id,
        min(seen_at) as first_seen_at,
        max(seen_at) as last_seen_at,
        min(first_known_on) as first_arrived_on,
        min({{ sighting_rank("first_known_on", "seen_at") }}) as first_sighting,
        bool_or(in_force_until = {{ open_end() }}) as is_current
        {%- if key_hash %}
            , max(case when in_force_until = {{ open_end() }} then key_hash end) as witness
        {%- endif %}
    from
        (
            select
                {{ id_type }} as written_id_type,
                {{ id }} as written_id,
                {{ seen_at }} as seen_at,
                versions.in_force_until,
                {%- if key_hash %} versions.{{ key_hash }} as key_hash, {%- endif %}
                {{ known_on("versions.in_force_from", seen_at, "business_days.ends_at") }} as first_known_on
            from {{ relation }} as versions
            left join business_days on business_days.day = versions.in_force_from
            where {{ id }} is not null and {{ id_type }} is not null and {{ happened(seen_at) }}
        ) as sightings
    where first_known_on < in_force_until
    group by 1, 2
{%- endmacro %}
