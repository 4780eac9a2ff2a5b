{%- set ranks = {"aware": 1, "interest": 2, "purchase": 3, "loyalty": 4} -%}
{%- set horizon = add_days(as_of(), -1 * var("aipl_since_days")) -%}
with

    users as (
        select user_id, {{ row_hash(["user_id"]) }} as owner_key, first_seen_at
        from {{ ref("int_identity__users") }}
    ),

    behaviours as (
        select
            behaviours.*,
            case
                behaviours.stage
                {%- for stage, rank in ranks.items() %} when '{{ stage }}' then {{ rank }} {%- endfor %}
            end as stage_rank
        from {{ ref("aipl_behaviours") }} as behaviours
    ),

    kinds as (select * from {{ ref("int_activity__kinds") }}),

    tracked as {{ inline() }} (select * from {{ ref("int_activity__stream") }}),

    dealings as {{ inline() }} (select * from {{ ref("int_activity__dealings") }}),

    owners as {{ inline() }} (select * from {{ ref("int_activity__owners") }}),

    contacts as (select * from {{ ref("int_users__contacts") }}),

    profile as (select * from {{ ref("int_users__profile") }}),

    memberships as (select * from {{ ref("stg_raw__group_memberships") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    orders as (select * from {{ ref("int_orders__resolved") }}),

    names as (select * from {{ ref("segment_names") }} where segmentation = 'aipl_stage'),

    seen as (select user_id, owner_key, {{ business_date("first_seen_at") }} as first_seen_date from users),

    -- Kinds of activity that count. What only lifts to the lower two stages is read as far back as it can
    -- matter; the rest is rare and read whole.
    counting_kinds as (
        select
            kinds.kind_key,
            behaviours.stage_rank,
            behaviours.window_days,
            case
                when behaviours.window_days is null or behaviours.stage_rank > {{ ranks["interest"] }}
                then cast('0001-01-01' as date)
                else {{ add_days(horizon, "1 - behaviours.window_days") }}
            end as read_from
        from kinds
        inner join behaviours on behaviours.kind = 'activity' and kinds.activity = behaviours.behaviour
    ),

    facts as {{ inline() }} ({{ standing_facts(["actor_key", "kind_key", "activity_date"]) }}),

    counting_days as (
        select distinct
            facts.actor_key, counting_kinds.stage_rank, counting_kinds.window_days, facts.activity_date
        from facts
        inner join
            counting_kinds
            on facts.kind_key = counting_kinds.kind_key
            and facts.activity_date >= counting_kinds.read_from
    ),

    -- Stretches of days on which a behaviour counts, both ends included.
    activity_stretches as (
        select
            owners.owner_key,
            counting_days.stage_rank,
            counting_days.activity_date as starts_on,
            case
                when counting_days.window_days is null
                then cast('9999-12-31' as date)
                else {{ add_days("counting_days.activity_date", "counting_days.window_days - 1") }}
            end as ends_on
        from counting_days
        inner join owners on counting_days.actor_key = owners.actor_key
        where owners.owner_key is not null
    ),

    -- Over on the day of the end.
    standings as (
        select
            user_id,
            'contact' as behaviour,
            added_date as starts_on,
            {{ add_days(business_date("deleted_at"), -1) }} as ends_on
        from contacts
        union all
        select
            lookup.user_id,
            'group' as behaviour,
            {{ business_date("memberships.joined_at") }} as starts_on,
            case
                when {{ happened("memberships.left_at") }}
                then {{ add_days(business_date("memberships.left_at"), -1) }}
            end as ends_on
        from memberships
        inner join lookup on memberships.id_type = lookup.id_type and memberships.id = lookup.id
        where {{ happened("memberships.joined_at") }}
        union all
        select
            profile.user_id,
            'member' as behaviour,
            coalesce(profile.member_registered_date, seen.first_seen_date) as starts_on,
            cast(null as date) as ends_on
        from profile
        inner join seen on profile.user_id = seen.user_id
        where profile.is_member
    ),

    standing_stretches as (
        select
            {{ row_hash(["standings.user_id"]) }} as owner_key,
            behaviours.stage_rank,
            standings.starts_on,
            coalesce(standings.ends_on, cast('9999-12-31' as date)) as ends_on
        from standings
        inner join behaviours on behaviours.kind = 'standing' and standings.behaviour = behaviours.behaviour
    ),

    order_days as (
        select
            user_id,
            ordered_date,
            row_number() over (partition by user_id order by ordered_date asc nulls last) as day_number
        from orders
        where user_id is not null and is_paid and not is_fully_refunded and ordered_date <= {{ as_of() }}
        group by user_id, ordered_date
    ),

    -- So many order days lie in the window from the last of them until the first has left it.
    order_stretches as (
        select
            {{ row_hash(["last_days.user_id"]) }} as owner_key,
            behaviours.stage_rank,
            last_days.ordered_date as starts_on,
            case
                when behaviours.window_days is null
                then cast('9999-12-31' as date)
                else {{ add_days("first_days.ordered_date", "behaviours.window_days - 1") }}
            end as ends_on
        from order_days as last_days
        inner join behaviours on behaviours.kind = 'orders' and behaviours.behaviour = 'order_day'
        inner join
            order_days as first_days
            on last_days.user_id = first_days.user_id
            and last_days.day_number - behaviours.least_days + 1 = first_days.day_number
    ),

    stretches as (
        select owner_key, stage_rank, starts_on, ends_on
        from activity_stretches
        union all
        select owner_key, stage_rank, starts_on, ends_on
        from standing_stretches
        where ends_on >= starts_on
        union all
        select owner_key, stage_rank, starts_on, ends_on
        from order_stretches
        where ends_on >= starts_on
    ),

    -- Stretches of one stage that touch are one period.
    preceded as (
        select
            *,
            max(ends_on) over (
                partition by owner_key, stage_rank
                order by starts_on asc nulls last, ends_on asc nulls last
                rows between unbounded preceding and 1 preceding
            ) as ended_before,
            max(ends_on) over (
                partition by owner_key, stage_rank
                order by starts_on asc nulls last, ends_on asc nulls last
                rows between unbounded preceding and unbounded following
            ) as last_ends_on
        from stretches
    ),

    begins as (
        select * from preceded where ended_before is null or starts_on > {{ add_days("ended_before", 1) }}
    ),

    -- What ended before the next one begins is the end of this one.
    periods as (
        select
            owner_key,
            stage_rank,
            starts_on,
            coalesce(
                lead(ended_before) over (
                    partition by owner_key, stage_rank order by starts_on asc nulls last
                ),
                last_ends_on
            ) as ends_on
        from begins
    ),

    stages as (
        select
            owner_key,
            max(stage_rank) as stage_rank,
            max_by(starts_on, stage_rank) as starts_on,
            max_by(ends_on, stage_rank) as ends_on
        from periods
        where ends_on >= {{ as_of() }}
        group by owner_key
    ),

    labelled as (
        select
            seen.user_id,
            seen.owner_key,
            seen.first_seen_date,
            coalesce(stages.stage_rank, 0) as stage_rank,
            stages.starts_on,
            stages.ends_on
        from seen
        left join stages on seen.owner_key = stages.owner_key
    ),

    -- A higher stage that is over ends on the day before this one begins, or earlier.
    higher as (
        select labelled.owner_key, max(periods.ends_on) as ended_on
        from labelled
        inner join
            periods
            on labelled.owner_key = periods.owner_key
            and labelled.stage_rank < periods.stage_rank
            and periods.ends_on < {{ as_of() }}
        group by labelled.owner_key
    ),

    begun as (
        select
            labelled.*,
            greatest(
                coalesce(labelled.starts_on, labelled.first_seen_date), {{ add_days("higher.ended_on", 1) }}
            ) as since_date
        from labelled
        left join higher on labelled.owner_key = higher.owner_key
    ),

    -- Stages of the day before this one began and of the day after it ends in silence.
    around as (
        select
            begun.owner_key,
            max(
                case
                    when {{ add_days("begun.since_date", -1) }} between periods.starts_on and periods.ends_on
                    then periods.stage_rank
                end
            ) as previous_rank,
            max(case when periods.ends_on > begun.ends_on then periods.stage_rank end) as next_rank
        from begun
        inner join periods on begun.owner_key = periods.owner_key
        group by begun.owner_key
    ),

    measured as (
        select
            begun.*,
            begun.since_date > {{ horizon }} or begun.stage_rank > {{ ranks["interest"] }} as is_since_known,
            begun.ends_on < cast('9999-12-31' as date) as is_ending,
            around.previous_rank,
            around.next_rank
        from begun
        left join around on begun.owner_key = around.owner_key
    ),

    staged as (
        select
            user_id,
            stage_rank,
            {{ aipl_stage_name("stage_rank") }} as aipl_stage,
            is_since_known,
            greatest(since_date, case when not is_since_known then {{ horizon }} end) as since_date,
            case
                when since_date > {{ horizon }} and since_date > first_seen_date
                then {{ aipl_stage_name("coalesce(previous_rank, 0)") }}
            end as previous_stage,
            case when is_ending then ends_on end as until_date,
            case when is_ending then {{ aipl_stage_name("coalesce(next_rank, 0)") }} end as next_stage
        from measured
    ),

    final as (
        select
            cast(staged.user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(staged.aipl_stage as {{ dbt.type_string() }}) as aipl_stage,
            cast(names.title_zh as {{ dbt.type_string() }}) as aipl_stage_zh,
            cast(names.title_en as {{ dbt.type_string() }}) as aipl_stage_en,
            cast(staged.since_date as date) as since_date,
            cast(staged.is_since_known as boolean) as is_since_known,
            cast({{ days_between("staged.since_date", as_of()) }} as integer) as days_in_stage,
            cast(staged.previous_stage as {{ dbt.type_string() }}) as previous_stage,
            cast(staged.until_date as date) as until_date,
            cast(staged.next_stage as {{ dbt.type_string() }}) as next_stage
        from staged
        left join names on staged.aipl_stage = names.segment
    )

select *
from final
