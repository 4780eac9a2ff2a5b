{{
    config(
        materialized="running",
        incremental_strategy="whole",
        meta={"scratch": ["again", "found"]},
    )
}}

{#- Columns that name a user in the tables whose rows are not held by int_identity__fact_sightings. -#}
{%- set tables = {
    "contacts": ("added_at", [("'contact_id'", "contact_id")]),
    "leads": ("created_at", [("'lead_id'", "lead_id")]),
    "group_memberships": ("joined_at", [("id_type", "id")]),
    "refunds": ("refunded_at", [("id_type", "id")]),
    "coupons": ("issued_at", [("id_type", "id")]),
    "referrals": (
        "invited_at",
        [("inviter_id_type", "inviter_id"), ("invitee_id_type", "invitee_id")],
    ),
    "surveys": ("answered_at", [("id_type", "id")]),
    "manual_tags": ("set_at", [("id_type", "id")]),
    "experiment_assignments": ("assigned_at", [("id_type", "id")]),
    "consents": ("changed_at", [("id_type", "id")]),
    "erasure_requests": ("requested_at", [("id_type", "id")]),
    "orders": ("ordered_at", [("id_type", "id")]),
    "members": ("coalesce(registered_at, updated_at)", [("'member_id'", "member_id")]),
} -%}
{#- Members without any moment were seen when they arrived. -#}
{%- set seen_on_arrival = "coalesce(registered_at, updated_at, " ~ day_start("in_force_from") ~ ")" -%}
{%- set read = {} -%}
{%- for table, (seen_at, identifiers) in tables.items() -%}
    {%- set columns = ["registered_at", "updated_at"] if table == "members" else [seen_at] -%}
    {%- for pair in identifiers -%}
        {%- for column in pair if "'" not in column -%} {%- do columns.append(column) -%} {%- endfor -%}
    {%- endfor -%}
    {%- do read.update({table: columns}) -%}
{%- endfor -%}
{%- set forward = is_forward() -%}
{%- if forward -%}
    {%- set again -%}
        {% for table, (seen_at, identifiers) in tables.items() %}
            select '{{ table }}' as table_name, key_hash
            from
                (
                    {{ replaced_keys(table) }}
                    union all
                    {{ awakened_keys(table, seen_at) }}
                    {#- Where a new version may name somebody else. -#}
                    {%- for _, id in identifiers if id not in record_key(table) %}
                        union all
                        {{ rewritten_keys(table) }}
                    {%- endfor %}
                ) as keys
            group by key_hash
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    {%- endset -%}
    {%- set again = counted_rows("again", again) -%}
{%- endif -%}

{%- set imports %}
    with
        business_days as ({{ business_days() }}),
        reissued as (select * from {{ ref("int_identity__reissued") }}),
        fact_sightings as {{ inline() }} (select * from {{ ref("int_identity__fact_sightings") }}),
        statements as {{ inline() }} (select * from {{ ref("int_identity__statements") }}),
        {% for table in tables %}
            staged_{{ table }} as {{ inline() }} (select * from {{ ref("stg_raw__" ~ table) }}),
        {% endfor %}
{% endset %}

{%- set found %}
    {{ imports }}
    {% for table, (seen_at, identifiers) in tables.items() %}
        {{ table }} as (
            {% if table == "orders" and not forward %}
                select
                    id_type,
                    id,
                    ordered_at as seen_at,
                    _arrived_on as in_force_from,
                    {{ open_end() }} as in_force_until
                from staged_orders
                where {{ row_hash(["order_id"]) }} not in (
                    select key_hash from reissued where table_name = 'orders'
                )
                union all
                select id_type, id, seen_at, in_force_from, in_force_until
                from reissued
                where table_name = 'orders'
            {% else %}
                select *, {{ seen_on_arrival if table == "members" else seen_at }} as seen_at
                from
                    (
                        {% if forward %}
                            {{
                                versions_since(table, read[table], again)
                            }}
                        {% else %} {{ record_versions(table, read[table]) }}
                        {% endif %}
                    ) as versions
            {% endif %}
        ),
    {% endfor %}
    -- Aggregated in each table first: few rows are then put together, however many facts there are.
    sightings as (
        {% for table, (seen_at, identifiers) in tables.items() %}
            {% for id_type, id in identifiers %}
                {{ identifier_sightings(table, id_type, id, "seen_at") }}
                union all
                {% if forward %}
                    -- Named by a record that changed, and perhaps no longer by any that counts.
                    select
                        {{ id_type }} as written_id_type,
                        {{ id }} as written_id,
                        cast(null as timestamp) as first_seen_at,
                        cast(null as timestamp) as last_seen_at,
                        cast(null as date) as first_arrived_on,
                        cast(null as bigint) as first_sighting,
                        false as is_current
                    from {{ table }}
                    union all
                {% endif %}
            {% endfor %}
        {% endfor %}
        select
            written_id_type,
            written_id,
            first_seen_at,
            last_seen_at,
            first_arrived_on,
            first_sighting,
            is_current
        from fact_sightings
        {% if forward %} where changed_on > {{ forward_from() }} {% endif %}
        {% for side in ["a", "b"] %}
            union all
            select
                id_type_{{ side }} as written_id_type,
                id_{{ side }} as written_id,
                first_linked_at as first_seen_at,
                last_linked_at as last_seen_at,
                stated_from as first_arrived_on,
                first_sighting,
                stated_until = {{ open_end() }} as is_current
            from statements
            {% if forward %} where changed_on > {{ forward_from() }} {% endif %}
        {% endfor %}
    )
    select
        {{ row_hash(["written_id_type", "written_id"]) }} as actor_key,
        written_id_type,
        written_id,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        min(first_arrived_on) as first_arrived_on,
        min(first_sighting) as first_sighting,
        bool_or(is_current) as is_current
    from sightings
    where written_id_type is not null and written_id is not null
    group by written_id_type, written_id
{%- endset %}

{%- if not forward %} {{ found }}
{%- else %}
    {%- set found = counted_rows("found", found) %}
    {{ imports }}
    found as ({{ found }}),
    doubtful as (select actor_key, written_id_type, written_id from found where not is_current),
    -- Named by rows that did not change.
    named as (
        {% if has_rows("select * from (" ~ found ~ ") as found where not is_current") %}
            select doubtful.actor_key
            from doubtful
            inner join fact_sightings on fact_sightings.actor_key = doubtful.actor_key
            where fact_sightings.is_current
            {% for side in ["a", "b"] %}
                union
                select doubtful.actor_key
                from doubtful
                inner join statements on statements.actor_key_{{ side }} = doubtful.actor_key
                where statements.stated_until = {{ open_end() }}
            {% endfor %}
            {% for table, (seen_at, identifiers) in tables.items() %}
                {% for id_type, id in identifiers %}
                    union
                    select doubtful.actor_key
                    from doubtful
                    inner join staged_{{ table }} on staged_{{ table }}.{{ id }} = doubtful.written_id
                    where
                        {{ id_type }} = doubtful.written_id_type
                        {% if table == "members" %} and coalesce({{ happened(seen_at) }}, true)
                        {% else %} and {{ happened(seen_at) }}
                        {% endif %}
                {% endfor %}
            {% endfor %}
        {% else %}select actor_key from doubtful
        {% endif %}
    ),
    final as (
        select
            found.actor_key,
            found.written_id_type,
            found.written_id,
            found.first_seen_at,
            found.last_seen_at,
            found.first_arrived_on,
            found.first_sighting,
            found.is_current or named.actor_key is not null as is_current
        from found
        left join named on named.actor_key = found.actor_key
    )
    select *
    from final
{%- endif %}
