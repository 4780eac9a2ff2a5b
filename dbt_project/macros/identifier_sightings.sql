{#- The identifiers a relation names, as written: first and last moment, first arrival. One row per identifier. -#}
{% macro identifier_sightings(relation, id_type, id, seen_at) -%}
    select
        {{ id_type }} as written_id_type,
        {{ id }} as written_id,
        min({{ seen_at }}) as first_seen_at,
        max({{ seen_at }}) as last_seen_at,
        min(_first_arrived_on) as first_arrived_on,
        min({{ sighting_rank("_first_arrived_on", seen_at) }}) as first_sighting
    from {{ relation }}
    where {{ id }} is not null and {{ id_type }} is not null and {{ happened(seen_at) }}
    group by 1, 2
{%- endmacro %}
