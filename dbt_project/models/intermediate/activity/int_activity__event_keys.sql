{{
    config(
        materialized="running",
        unique_key=["event_key"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
    )
}}

{#- Named one by one: a union of rows reads all columns of each side. -#}
{%- set events -%}
    (
        select event_id, occurred_at, _file_id, _record, _arrived_on, _taken_in_at
        from {{ raw_rows(source("raw", "events"), "events") }}
    ) as events
{%- endset %}
with
    latest as (
        {{
            latest_version(
                events,
                key=["event_id"],
                optional_key=true,
                few_repeat=true,
                late=happened("occurred_at"),
            )
        }}
    ),
    keyed as (select *, {{ row_hash(record_key("events")) }} as event_key from latest),
    dated as ({{ known_since("keyed", "events", key=["event_key"]) }}),
    final as (
        select
            event_key,
            {{ row_hash(["_file_id", "_record"]) }} as row_key,
            cast(occurred_at as timestamp) as occurred_at,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on,
            _is_repeated
            {%- if is_forward() %} or _known_since <= {{ forward_from() }}{%- endif %} as is_repeated
        from dated
    )
select *
from final
