{{
    config(
        materialized="running",
        incremental_strategy="whole",
        meta={"scratch": ["events", "touches", "orders"]},
    )
}}

{#- Read only when all is built anew: going forward, others hold what they took from here. -#}
{%- if is_forward() %} select * from {{ this }} where false
{%- else -%}

    {#- The large tables, whose rows seldom have a second version: columns and moment. -#}
    {%- set tables = [
        ("events", ["id_type", "id", "event_name", "properties"], "occurred_at"),
        ("touches", ["id_type", "id"], "occurred_at"),
        ("orders", ["id_type", "id", "device_id"], "ordered_at"),
    ] -%}
    {%- set staged_keys = {
        "events": ["event_id"],
        "orders": ["order_id"],
        "touches": ["touch_id", "status"],
    } -%}
    {#- Counted first: the engine would take them for more than the raw rows, and hold those in memory instead. -#}
    {%- set keys = {} -%}
    {%- for table, columns, seen_at in tables -%}
        {%- set keys_of_table -%}
        {%- if table == "events" %}select event_key as key_hash from {{ ref("int_activity__event_keys") }}
        {%- else %} select {{ row_hash(staged_keys[table]) }} as key_hash from {{ ref("stg_raw__" ~ table) }}
        {%- endif %}
        where _first_arrived_on < _arrived_on
        union
        select {{ row_hash(record_key(table)) }} as key_hash
        from {{ ever_arrived(table) }} as raw
        inner join {{ replaced_files(table) }} as replaced on replaced.taken_in_at = raw._taken_in_at
        {%- endset -%}
        {%- do keys.update({table: counted_rows(table, keys_of_table)}) -%}
    {%- endfor %}
    with
        {% for table, columns, seen_at in tables %}
            {{ table }}_keys as ({{ keys[table] }}),
            {{ table }} as (
                {{
                    record_versions(
                        table,
                        columns + [seen_at, "_taken_in_at"] + staged_keys[table] + ["_file_id", "_record"],
                        among=table ~ "_keys",
                    )
                }}
            ),
        {% endfor %}
        final as (
            {% for table, columns, seen_at in tables %}
                select
                    '{{ table }}' as table_name,
                    {{ row_hash(record_key(table)) }} as key_hash,
                    {% for column in ["id_type", "id", "event_name", "properties", "device_id"] %}
                        {% if column in columns %} {{ column }},
                        {% else %} cast(null as varchar) as {{ column }},
                        {% endif %}
                    {% endfor %}
                    {{ seen_at }} as seen_at,
                    in_force_from,
                    in_force_until
                from {{ table }}
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
        )
    select *
    from final
{%- endif %}
