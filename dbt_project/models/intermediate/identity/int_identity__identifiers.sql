{{
    config(
        materialized="running",
        unique_key="identifier_key",
        meta={"tombstones": true, "scratch": ["changed"]},
    )
}}

{%- set forward = is_forward() -%}
{%- if forward -%}
    {%- set changed -%}
        select identifier_key
        from {{ ref("int_identity__written") }}
        where changed_on > {{ forward_from() }} and identifier_key is not null
        union
        select identifier_key
        from {{ ref("int_identity__lookup") }}
        where changed_on > {{ forward_from() }}
    {%- endset -%}
    {%- set changed = counted_rows("changed", changed) -%}
{%- endif %}

with
    written as {{ inline() }} (select * from {{ ref("int_identity__written") }}),
    lookup as {{ inline() }} (select * from {{ ref("int_identity__lookup") }}),
    {% if forward %} changed as ({{ changed }}), {% endif %}
    named as (
        select
            written.identifier_key,
            written.id_type,
            written.id,
            lookup.user_id,
            min(written.first_seen_at) as first_seen_at,
            max(written.last_seen_at) as last_seen_at,
            min(written.first_arrived_on) as first_arrived_on
        from written
        {% if forward %} inner join changed on changed.identifier_key = written.identifier_key {% endif %}
        inner join lookup on lookup.actor_key = written.actor_key
        group by 1, 2, 3, 4
        having bool_or(written.is_current)
    ),
    final as (
        {% if forward %}
            select
                changed.identifier_key,
                named.id_type,
                named.id,
                named.user_id,
                named.first_seen_at,
                named.last_seen_at,
                named.first_arrived_on,
                named.identifier_key is null as is_gone
            from changed
            left join named on named.identifier_key = changed.identifier_key
        {% else %}select * from named
        {% endif %}
    )
select *
from final
