{{ config(materialized="running", unique_key=["pair_key"], meta={"scratch": ["changed"]}) }}

{%- set forward = is_forward() -%}
{%- if forward -%}
    {%- set changed -%}
        select distinct pair_key
        from {{ ref("int_identity__told") }}
        where
            changed_on > {{ forward_from() }}
            or (
                linked_at >= {{ day_start(forward_from() ~ " + interval 1 day") }}
                and {{ happened("linked_at") }}
            )
    {%- endset -%}
    {%- set changed = counted_rows("changed", changed) -%}
{%- endif %}
with
    told as {{ inline() }} (select * from {{ ref("int_identity__told") }}),
    business_days as ({{ business_days() }}),
    dated as (
        select
            told.*,
            {{ known_on("told.in_force_from", "told.linked_at", "business_days.ends_at") }} as stated_from
        from told
        {% if forward %} inner join ({{ changed }}) as changed on changed.pair_key = told.pair_key {% endif %}
        left join business_days on business_days.day = told.in_force_from
        where {{ happened("told.linked_at") }}
    ),
    paired as (
        select
            pair_key,
            any_value(stated_by) as stated_by,
            any_value(id_type_a) as id_type_a,
            any_value(id_a) as id_a,
            any_value(id_type_b) as id_type_b,
            any_value(id_b) as id_b,
            in_force_until as stated_until,
            min(stated_from) as stated_from,
            min(source) as source,
            min(linked_at) as first_linked_at,
            max(linked_at) as last_linked_at,
            min({{ sighting_rank("stated_from", "linked_at") }}) as first_sighting
        from dated
        where stated_from < in_force_until
        group by pair_key, in_force_until
    ),
    final as (
        select
            *,
            {{ row_hash(["id_type_a", "id_a"]) }} as actor_key_a,
            {{ row_hash(["id_type_b", "id_b"]) }} as actor_key_b,
            {{ as_of() }} as changed_on
        from paired
    )
select *
from final
