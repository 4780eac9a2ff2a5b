{#- Columns that name a user in the tables that are read with all versions of their records. -#}
{%- set tables = [
    ("contacts", "added_at", ["staff_id"], [("'contact_id'", "contact_id")]),
    ("leads", "created_at", [], [("'lead_id'", "lead_id")]),
    ("group_memberships", "joined_at", [], [("id_type", "id")]),
    ("refunds", "refunded_at", [], [("id_type", "id")]),
    ("coupons", "issued_at", [], [("id_type", "id")]),
    (
        "referrals",
        "invited_at",
        [],
        [("inviter_id_type", "inviter_id"), ("invitee_id_type", "invitee_id")],
    ),
    ("surveys", "answered_at", [], [("id_type", "id")]),
    ("manual_tags", "set_at", [], [("id_type", "id")]),
    ("experiment_assignments", "assigned_at", [], [("id_type", "id")]),
    ("consents", "changed_at", [], [("id_type", "id")]),
    ("erasure_requests", "requested_at", [], [("id_type", "id")]),
] -%}
with
    business_days as ({{ business_days() }}),
    reissued as (select * from {{ ref("int_identity__reissued") }}),
    fact_sightings as (select * from {{ ref("int_identity__fact_sightings") }}),
    statements as (select * from {{ ref("int_identity__statements") }}),
    members as (
        select *, coalesce(registered_at, updated_at, {{ day_start("in_force_from") }}) as seen_at
        from ({{ record_versions("members", ["member_id", "registered_at", "updated_at"]) }}) as versions
    ),
    {% for table, seen_at, more, identifiers in tables %}
        {%- set columns = [seen_at] -%}
        {%- for pair in identifiers -%}
            {%- for column in pair if "'" not in column -%} {%- do columns.append(column) -%} {%- endfor -%}
        {%- endfor -%}
        {{ table }} as ({{ record_versions(table, columns) }}),
    {% endfor %}
    orders as (
        select id_type, id, ordered_at, _arrived_on as in_force_from, {{ open_end() }} as in_force_until
        from {{ ref("stg_raw__orders") }}
        where {{ row_hash(["order_id"]) }} not in (select key_hash from reissued where table_name = 'orders')
        union all
        select id_type, id, seen_at as ordered_at, in_force_from, in_force_until
        from reissued
        where table_name = 'orders'
    ),
    -- Aggregated in each table first: few rows are then put together, however many facts there are.
    sightings as (
        {% for table, seen_at, more, identifiers in tables %}
            {% for id_type, id in identifiers %}
                {{ identifier_sightings(table, id_type, id, seen_at) }}
                union all
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
        union all
        {{ identifier_sightings("orders", "id_type", "id", "ordered_at") }}
        union all
        {{ identifier_sightings("members", "'member_id'", "member_id", "seen_at") }}
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
        {% endfor %}
    ),
    final as (
        select
            written_id_type,
            written_id,
            min(first_seen_at) as first_seen_at,
            max(last_seen_at) as last_seen_at,
            min(first_arrived_on) as first_arrived_on,
            min(first_sighting) as first_sighting,
            bool_or(is_current) as is_current
        from sightings
        where written_id_type is not null and written_id is not null
        group by 1, 2
    )
select *
from final
