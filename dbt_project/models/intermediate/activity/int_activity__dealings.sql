{{ config(materialized="running", incremental_strategy="compare", unique_key="row_key") }}

with
    lookup as (select * from {{ ref("int_identity__lookup") }}),
    orders as (select * from {{ ref("int_orders__resolved") }}),
    order_lines as (
        select
            order_lines.*,
            coalesce(orders.paid_at, orders.ordered_at) as paid_at,
            orders.channel,
            orders.campaign_id
        from {{ ref("int_order_lines__resolved") }} as order_lines
        inner join orders on orders.order_id = order_lines.order_id
    ),
    refunds as (
        select refunds.*, orders.channel, orders.campaign_id
        from {{ ref("int_refunds__resolved") }} as refunds
        left join orders on orders.order_id = refunds.order_id
    ),
    contacts as (
        select
            contacts.*,
            'contact_id' as id_type,
            contacts.contact_id as id,
            {{ fact_id("contact", ["contacts.contact_id", "contacts.staff_id"]) }} as fact_id,
            landing_codes.channel,
            landing_codes.campaign_id
        from {{ ref("stg_raw__contacts") }} as contacts
        left join
            {{ ref("stg_raw__landing_codes") }} as landing_codes
            on landing_codes.state_code = contacts.state_code
    ),
    members as (
        select *, 'member_id' as id_type, member_id as id, {{ fact_id("member", ["member_id"]) }} as fact_id
        from {{ ref("stg_raw__members") }}
    ),
    group_memberships as (
        select *, {{ fact_id("group", ["group_id", "id_type", "id", "joined_at"]) }} as fact_id
        from {{ ref("stg_raw__group_memberships") }}
    ),
    coupons as (select * from {{ ref("stg_raw__coupons") }}),
    leads as (
        select
            *,
            case when id_type is null or id is null then 'lead_id' else id_type end as lead_id_type,
            case when id_type is null or id is null then lead_id else id end as lead_identifier,
            {{ fact_id("lead", ["lead_id"]) }} as fact_id
        from {{ ref("stg_raw__leads") }}
    ),
    referrals as (
        select
            *,
            {{ fact_id("referral", ["inviter_id_type", "inviter_id", "invitee_id_type", "invitee_id"]) }}
            as fact_id
        from {{ ref("stg_raw__referrals") }}
    ),
    surveys as (
        select *, {{ fact_id("survey", ["response_id", "question"]) }} as fact_id
        from {{ ref("stg_raw__surveys") }}
    ),
    manual_tags as (
        select *, {{ fact_id("manual_tag", ["id_type", "id", "tag", "set_at"]) }} as fact_id
        from {{ ref("stg_raw__manual_tags") }}
    ),
    experiment_assignments as (
        select *, {{ fact_id("experiment", ["experiment", "id_type", "id"]) }} as fact_id
        from {{ ref("stg_raw__experiment_assignments") }}
    ),
    consents as (
        select *, {{ fact_id("consent", ["id_type", "id", "purpose", "channel", "changed_at"]) }} as fact_id
        from {{ ref("stg_raw__consents") }}
    ),
    erasure_requests as (select * from {{ ref("stg_raw__erasure_requests") }}),
    {%- set of_order = {
        "channel": "fact.channel",
        "campaign_id": "fact.campaign_id",
        "amount": "fact.amount",
    } %}
    {%- set of_contact = {"channel": "fact.channel", "campaign_id": "fact.campaign_id"} %}
    {%- set of_lead = {"channel": "fact.origin", "touchpoint": "fact.landing_page"} %}
    activities as (
        {{
            activity_rows(
                "orders",
                "'order_placed'",
                "fact.ordered_at",
                "'order_placed:' || fact.order_id",
                columns=of_order,
                user_from="fact.user_id",
            )
        }}
        union all
        {{
            activity_rows(
                "(select * from orders where is_paid)",
                "'order_paid'",
                "coalesce(fact.paid_at, fact.ordered_at)",
                "'order_paid:' || fact.order_id",
                columns=of_order,
                user_from="fact.user_id",
            )
        }}
        union all
        {{
            activity_rows(
                "order_lines",
                "'item_paid'",
                "fact.paid_at",
                "'item_paid:' || fact.order_id || ':' || cast(fact.line_number as varchar)",
                columns=dict(of_order, product_id="fact.product_id"),
                user_from="fact.user_id",
            )
        }}
        union all
        {{
            activity_rows(
                "refunds",
                "'order_refunded'",
                "fact.refunded_at",
                "'order_refunded:' || fact.refund_id",
                columns=dict(of_order, product_id="fact.product_id"),
                user_from="fact.user_id",
            )
        }}
        {% for activity, moment in [
            ("contact_added", "added_at"),
            ("contact_deleted", "deleted_at"),
            ("contact_blocked", "blocked_at"),
        ] %}
            union all
            {{
                activity_rows(
                    "contacts",
                    "'" ~ activity ~ "'",
                    "fact." ~ moment,
                    "fact.fact_id || ':" ~ activity ~ "'",
                    columns=of_contact,
                )
            }}
        {% endfor %}
        union all
        {{
            activity_rows(
                "members",
                "'member_registered'",
                "fact.registered_at",
                "fact.fact_id || ':member_registered'",
                columns={"channel": "fact.channel"},
            )
        }}
        {% for activity, moment in [("group_joined", "joined_at"), ("group_left", "left_at")] %}
            union all
            {{
                activity_rows(
                    "group_memberships",
                    "'" ~ activity ~ "'",
                    "fact." ~ moment,
                    "fact.fact_id || ':" ~ activity ~ "'",
                )
            }}
        {% endfor %}
        {% for activity, moment, condition in [
            ("coupon_issued", "issued_at", "true"),
            ("coupon_used", "used_at", "true"),
            (
                "coupon_expired",
                "expires_at",
                "not coalesce(used_at <= expires_at or " ~ happened("used_at") ~ ", false)",
            ),
        ] %}
            union all
            {{
                activity_rows(
                    "(select * from coupons where " ~ condition ~ ")",
                    "'" ~ activity ~ "'",
                    "fact." ~ moment,
                    "'" ~ activity ~ ":' || fact.coupon_id",
                    columns={"amount": "fact.face_amount"},
                )
            }}
        {% endfor %}
        {% for activity, moment in [
            ("lead_created", "created_at"),
            ("lead_mql", "mql_at"),
            ("lead_sql", "sql_at"),
            ("lead_won", "won_at"),
            ("lead_lost", "lost_at"),
        ] %}
            union all
            {{
                activity_rows(
                    "(select * from leads where " ~ happened("created_at") ~ ")",
                    "'" ~ activity ~ "'",
                    "fact." ~ moment,
                    "fact.fact_id || ':" ~ activity ~ "'",
                    columns=dict(of_lead, amount="fact.amount") if activity == "lead_won" else of_lead,
                    id_type="fact.lead_id_type",
                    id="fact.lead_identifier",
                )
            }}
        {% endfor %}
        union all
        {{
            activity_rows(
                "referrals",
                "'referral_invited'",
                "fact.invited_at",
                "fact.fact_id || ':referral_invited'",
                columns={"campaign_id": "fact.campaign_id"},
                id_type="fact.inviter_id_type",
                id="fact.inviter_id",
            )
        }}
        union all
        {{
            activity_rows(
                "referrals",
                "'referral_joined'",
                "fact.joined_at",
                "fact.fact_id || ':referral_joined'",
                columns={"campaign_id": "fact.campaign_id"},
                id_type="fact.invitee_id_type",
                id="fact.invitee_id",
            )
        }}
        union all
        {{ activity_rows("surveys", "'survey_answered'", "fact.answered_at", "fact.fact_id") }}
        union all
        {{ activity_rows("manual_tags", "'manual_tag_set'", "fact.set_at", "fact.fact_id || ':set'") }}
        union all
        {{
            activity_rows(
                "manual_tags", "'manual_tag_cleared'", "fact.cleared_at", "fact.fact_id || ':cleared'"
            )
        }}
        union all
        {{
            activity_rows(
                "experiment_assignments", "'experiment_assigned'", "fact.assigned_at", "fact.fact_id"
            )
        }}
        union all
        {{
            activity_rows(
                "consents",
                "'consent_' || lower(trim(fact.status))",
                "fact.changed_at",
                "fact.fact_id",
                columns={"channel": "fact.channel"},
            )
        }}
        union all
        {{
            activity_rows(
                "erasure_requests",
                "'erasure_requested'",
                "fact.requested_at",
                "'erasure_requested:' || fact.request_id",
            )
        }}
    ),
    dated as (
        select
            {{ row_hash(["user_id"]) }} as actor_key,
            activity,
            occurred_at,
            {{ business_date("occurred_at") }} as activity_date,
            activity_id,
            {{ kind_key("dealings", "activity", "channel", "touchpoint") }} as kind_key,
            channel,
            touchpoint,
            product_id,
            content_id,
            campaign_id,
            amount
        from activities
    ),
    final as (
        select
            *,
            {{
                row_hash(
                    [
                        "actor_key",
                        "activity",
                        "occurred_at",
                        "activity_id",
                        "channel",
                        "touchpoint",
                        "product_id",
                        "content_id",
                        "campaign_id",
                        "amount",
                    ]
                )
            }} as row_key,
            {{ as_of() }} as added_on,
            cast(null as date) as removed_on
        from dated
    )
select *
from final
