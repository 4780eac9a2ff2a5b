{#-
    Hashes of the keys (record_key) of records that arrived by `forward_from()` and of which more than their new rows must be
    read, because since then ...
-#}
{#- ... a landing file that holds a version of them was replaced. -#}
{% macro replaced_keys(table) -%}
    select {{ row_hash(record_key(table)) }} as key_hash
    from {{ ever_arrived(table) }} as raw
    inner join {{ replaced_files(table) }} as replaced on replaced.taken_in_at = raw._taken_in_at
    where replaced.replaced_on > {{ forward_from() }}
{%- endmacro %}

{#- ... the moment that a version of them names has come. -#}
{% macro awakened_keys(table, seen_at) -%}
    select {{ row_hash(record_key(table)) }} as key_hash
    from {{ ever_arrived(table) }}
    where
        _arrived_on <= {{ forward_from() }}
        and {{ seen_at }} >= {{ day_start(forward_from() ~ " + interval 1 day") }}
        and {{ happened(seen_at) }}
{%- endmacro %}

{#- ... another version came. -#}
{% macro rewritten_keys(table) -%}
    select {{ row_hash(record_key(table)) }} as key_hash
    from {{ ref("stg_raw__" ~ table) }}
    where _arrived_on > {{ forward_from() }} and _first_arrived_on <= {{ forward_from() }}
{%- endmacro %}

{#-
    What a running model of identity reads of a table going forward, as record_versions tells it, with `key_hash` and
    `is_again`: all versions of the records that the query `again` yields (table_name, key_hash), and of all others those that
    arrived since. Of the latter the earlier versions ended when the first of these came.
-#}
{% macro versions_since(table, columns, again) -%}
    {%- set key = record_key(table) -%}
    {#- An event without an id is told by its file and record. -#}
    {%- set key_columns = ["event_id", "_file_id", "_record"] if table == "events" else key -%}
    {%- set listed = columns + (key_columns | reject("in", columns) | list) -%}
    {%- set keys = "select key_hash from (" ~ again ~ ") as again where table_name = '" ~ table ~ "'" -%}
    select *, {{ row_hash(key) }} as key_hash, false as is_again
    from ({{ record_versions(table, listed, relation=ever_arrived_since(table)) }}) as arrived
    where {{ row_hash(key) }} not in ({{ keys }})
    {%- if has_rows(keys) %}
        union all
        select *, {{ row_hash(key) }} as key_hash, true as is_again
        from ({{ record_versions(table, listed, among="(" ~ keys ~ ")") }}) as known
    {%- endif %}
{%- endmacro %}
