{#-
    The version of each event that counts on as_of: its `event_key` and some columns of the raw table, read from the Parquet
    files. There is no staging table of them: to store so many texts once more takes the engine far longer than to read them.
-#}
{% macro current_events(columns) -%}
    select {{ columns | join(", ") }}, known.event_key
    from ({{ keyed_events(source("raw", "events"), columns) }}) as known
    left join
        (select event_key, row_key from {{ ref("int_activity__event_keys") }} where is_repeated) as repeated
        on repeated.event_key = known.event_key
    where repeated.event_key is null or repeated.row_key = known.row_key
{%- endmacro %}

{#-
    Some columns of raw rows of events that count on as_of, with the hashes by which int_activity__event_keys knows them.
    `event_id` is that of its key: an event without one has file and record number.
-#}
{% macro keyed_events(relation, columns) -%}
    {%- set key = record_key("events") -%}
    select
        {% for column in columns %}
            {{ key[0] ~ " as event_id" if column == "event_id" else column }},
        {% endfor %}
        {{ row_hash(key) }} as event_key,
        {{ row_hash(["_file_id", "_record"]) }} as row_key
    from {{ relation }}
    where {{ is_known(happened("occurred_at")) }}
{%- endmacro %}
