{%- set buckets = 256 -%}
with

    users as (select * from {{ ref("user_wide") }}),

    contacts as (select * from {{ ref("int_users__contacts") }}),

    landing_codes as (select * from {{ ref("stg_raw__landing_codes") }}),

    staff as (select * from {{ ref("stg_raw__staff") }} where persona is not null),

    manual_tags as (select * from {{ ref("stg_raw__manual_tags") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    rules as (select * from {{ ref("service_rules") }}),

    distributors as (
        select distinct lookup.user_id
        from manual_tags
        inner join lookup on manual_tags.id_type = lookup.id_type and manual_tags.id = lookup.id
        where
            lower(trim(manual_tags.tag)) = 'distributor'
            and {{ happened("manual_tags.set_at") }}
            and (manual_tags.cleared_at is null or not {{ happened("manual_tags.cleared_at") }})
    ),

    -- The latest entry by a landing code decides the scene.
    entries as (
        select
            contacts.user_id,
            landing_codes.channel,
            landing_codes.persona,
            row_number() over (
                partition by contacts.user_id
                order by
                    contacts.added_at desc nulls last,
                    contacts.contact_id asc nulls last,
                    contacts.staff_id asc nulls last
            ) as entry_rank
        from contacts
        inner join landing_codes on contacts.state_code = landing_codes.state_code
    ),

    cut as (
        select
            users.user_id,
            users.primary_staff_id,
            case
                when users.activity_stage in ('lost', 'dormant')
                then users.activity_stage
                when users.order_days_count >= 2
                then 'repeat_buyer'
                when users.order_days_count = 1
                then 'first_buyer'
                when users.activity_stage = 'new'
                then 'newcomer'
                else 'prospect'
            end as crowd,
            coalesce(entries.channel, users.acquisition_channel, 'unknown') as scene,
            case
                when distributors.user_id is not null
                then 'distributor'
                when users.value_layer in ('top', 'high')
                then 'vip'
                when users.invited_joined_count >= {{ var("service_koc_invited") }}
                then 'koc'
                when users.is_member
                then 'member'
                else 'visitor'
            end as identity,
            entries.persona as landing_persona
        from users
        left join entries on users.user_id = entries.user_id and entries.entry_rank = 1
        left join distributors on users.user_id = distributors.user_id
    ),

    cases as (select distinct crowd, scene, identity, landing_persona from cut),

    ranked_rules as (
        select
            cases.*,
            rules.priority,
            case
                when rules.persona = 'as_landed' then cases.landing_persona else rules.persona
            end as persona,
            rules.reply_minutes,
            row_number() over (
                partition by cases.crowd, cases.scene, cases.identity, cases.landing_persona
                order by rules.priority asc nulls last
            ) as rule_rank
        from cases
        inner join
            rules
            on (rules.crowd = '*' or rules.crowd = cases.crowd)
            and (rules.scene = '*' or rules.scene = cases.scene)
            and (rules.identity = '*' or rules.identity = cases.identity)
            and (rules.persona <> 'as_landed' or cases.landing_persona is not null)
    ),

    decided as (
        select cut.*, ranked_rules.priority as rule_priority, ranked_rules.persona, ranked_rules.reply_minutes
        from cut
        left join
            ranked_rules
            on cut.crowd = ranked_rules.crowd
            and cut.scene = ranked_rules.scene
            and cut.identity = ranked_rules.identity
            and cut.landing_persona is not distinct from ranked_rules.landing_persona
            and ranked_rules.rule_rank = 1
    ),

    -- Whoever comes and goes among the staff moves only the users of that one: each bucket goes to the
    -- highest hash.
    buckets as (
        select distinct {{ hash_bucket("'service'", "user_id") }} % {{ buckets }} as bucket from decided
    ),

    ranked_staff as (
        select
            staff.persona,
            buckets.bucket,
            staff.staff_id,
            row_number() over (
                partition by staff.persona, buckets.bucket
                order by
                    md5(staff.staff_id || ':' || cast(buckets.bucket as {{ dbt.type_string() }})) desc
                    nulls last,
                    staff.staff_id asc nulls last
            ) as staff_rank
        from staff
        cross join buckets
    ),

    final as (
        select
            cast(decided.user_id as {{ dbt.type_string() }}) as user_id,
            cast({{ as_of() }} as date) as as_of_date,
            cast(decided.crowd as {{ dbt.type_string() }}) as crowd,
            cast(decided.scene as {{ dbt.type_string() }}) as scene,
            cast(decided.identity as {{ dbt.type_string() }}) as identity,
            cast(decided.landing_persona as {{ dbt.type_string() }}) as landing_persona,
            cast(decided.rule_priority as integer) as rule_priority,
            cast(decided.persona as {{ dbt.type_string() }}) as persona,
            cast(decided.reply_minutes as integer) as reply_minutes,
            cast(
                case
                    when held.persona = decided.persona then held.staff_id else ranked_staff.staff_id
                end as {{ dbt.type_string() }}
            ) as staff_id,
            cast(decided.primary_staff_id as {{ dbt.type_string() }}) as current_staff_id,
            cast(
                coalesce(
                    decided.primary_staff_id is not null
                    and held.persona is distinct from decided.persona
                    and ranked_staff.staff_id is not null,
                    false
                ) as boolean
            ) as is_handover
        from decided
        left join staff as held on decided.primary_staff_id = held.staff_id
        left join
            ranked_staff
            on decided.persona = ranked_staff.persona
            and {{ hash_bucket("'service'", "decided.user_id") }} % {{ buckets }} = ranked_staff.bucket
            and ranked_staff.staff_rank = 1
    )

select *
from final
