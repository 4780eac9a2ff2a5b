{{
    config(
        materialized="running",
        unique_key="touchpoint_key",
        meta={"tombstones": true},
    )
}}

{%- set forward = is_forward() %}
{%- set in_window -%}
    activity_date > {{ add_days(as_of(), -90) }} and activity_date <= {{ as_of() }}
{%- endset %}
{%- set key = row_hash(["owner_key", "touchpoint"]) %}
with

    tracked as {{ inline() }} (select * from {{ ref("int_activity__stream") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    owners as {{ inline() }} (select * from {{ ref("int_activity__owners") }} where owner_key is not null),

    moves as {{ inline() }} (select * from {{ ref("int_activity__moves") }}),

    kinds as (select * from {{ ref("int_activity__kinds") }}),

    passive_activities as (select * from {{ ref("passive_activities") }}),

    own_kinds as (
        select kinds.kind_key, kinds.touchpoint
        from kinds
        left join passive_activities on kinds.activity = passive_activities.activity
        where kinds.touchpoint is not null and passive_activities.activity is null
    ),

    facts as (
        {% if forward %}
            select owner_key, is_recounted, kind_key, activity_date, count_90d as step
            from moves
            where count_90d <> 0
        {% else %}
            select
                owners.owner_key, false as is_recounted, standing.kind_key, standing.activity_date, 1 as step
            from ({{ standing_facts(["actor_key", "kind_key", "activity_date"], in_window) }}) as standing
            inner join owners on standing.actor_key = owners.actor_key
        {% endif %}
    ),

    -- Of what leaves the window no day is read: as long as any activity stays, so does the last one.
    counted as (
        select
            facts.owner_key,
            own_kinds.touchpoint,
            bool_or(facts.is_recounted) as is_recounted,
            sum(facts.step) as activities_count,
            max(case when facts.step > 0 then facts.activity_date end) as last_date
        from facts
        inner join own_kinds on facts.kind_key = own_kinds.kind_key
        group by facts.owner_key, own_kinds.touchpoint
    ),

    keyed as (
        select *, {{ key }} as touchpoint_key, case when not is_recounted then {{ key }} end as held_key
        from counted
    ),

    final as (
        {% if forward %}
            select
                keyed.touchpoint_key,
                keyed.owner_key,
                keyed.touchpoint,
                cast(
                    coalesce(held.activities_count, 0) + keyed.activities_count as bigint
                ) as activities_count,
                greatest(held.last_date, keyed.last_date) as last_date,
                coalesce(held.activities_count, 0) + keyed.activities_count = 0 as is_gone
            from keyed
            left join {{ this }} as held on keyed.held_key = held.touchpoint_key
            union all
            -- Where users who are counted again do nothing any more.
            select held.touchpoint_key, held.owner_key, held.touchpoint, 0, null, true as is_gone
            from {{ this }} as held
            inner join
                (select distinct owner_key from moves where is_recounted) as recounted
                on held.owner_key = recounted.owner_key
            left join keyed on held.touchpoint_key = keyed.touchpoint_key
            where keyed.touchpoint_key is null
        {% else %}
            select
                touchpoint_key,
                owner_key,
                touchpoint,
                cast(activities_count as bigint) as activities_count,
                last_date
            from keyed
        {% endif %}
    )

select *
from final
