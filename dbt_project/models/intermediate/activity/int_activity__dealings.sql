{{
    config(
        materialized="running",
        incremental_strategy="retire",
        unique_key="row_key",
        meta={"replaced": "gone", "scratch": ["moved", "gone"]},
    )
}}

{%- set forward = is_forward() %}
{%- set of_order = {
    "channel": "fact.channel",
    "campaign_id": "fact.campaign_id",
    "amount": "fact.amount",
} %}
{%- set of_contact = {"channel": "fact.channel", "campaign_id": "fact.campaign_id"} %}
{%- set of_lead = {"channel": "fact.origin", "touchpoint": "fact.landing_page"} %}
{%- set lead = {"id_type": "fact.lead_id_type", "id": "fact.lead_identifier"} %}
{#- Relation, activity, moment, the key of its facts, their id, and what else activity_rows takes. -#}
{%- set facts = [
    (
        "orders",
        "'order_placed'",
        "ordered_at",
        ["order_id"],
        "'order_placed:' || fact.order_id",
        {"columns": of_order, "user_from": "fact.user_id"},
    ),
    (
        "(select *, coalesce(paid_at, ordered_at) as counted_at from orders where is_paid)",
        "'order_paid'",
        "counted_at",
        ["order_id"],
        "'order_paid:' || fact.order_id",
        {"columns": of_order, "user_from": "fact.user_id"},
    ),
    (
        "order_lines",
        "'item_paid'",
        "paid_at",
        ["order_id", "line_number"],
        "'item_paid:' || fact.order_id || ':' || cast(fact.line_number as varchar)",
        {"columns": dict(of_order, product_id="fact.product_id"), "user_from": "fact.user_id"},
    ),
    (
        "refunds",
        "'order_refunded'",
        "refunded_at",
        ["refund_id"],
        "'order_refunded:' || fact.refund_id",
        {"columns": dict(of_order, product_id="fact.product_id"), "user_from": "fact.user_id"},
    ),
    (
        "consents",
        "'consent_' || lower(trim(fact.status))",
        "changed_at",
        ["id_type", "id", "purpose", "channel", "changed_at"],
        fact_id(
            "consent",
            ["fact.id_type", "fact.id", "fact.purpose", "fact.channel", "fact.changed_at"],
        ),
        {"columns": {"channel": "fact.channel"}},
    ),
    (
        "erasure_requests",
        "'erasure_requested'",
        "requested_at",
        ["request_id"],
        "'erasure_requested:' || fact.request_id",
        {},
    ),
] %}
{%- for activity, moment, condition in [
    ("coupon_issued", "issued_at", "true"),
    ("coupon_used", "used_at", "true"),
    (
        "coupon_expired",
        "expires_at",
        "not coalesce(used_at <= expires_at or " ~ happened("used_at") ~ ", false)",
    ),
] %}
    {%- do facts.append(
        (
            "(select * from coupons where " ~ condition ~ ")",
            "'" ~ activity ~ "'",
            moment,
            ["coupon_id"],
            "'" ~ activity ~ ":' || fact.coupon_id",
            {"columns": {"amount": "fact.face_amount"}},
        )
    ) %}
{%- endfor %}
{#- Facts without an id of their own get one from their key (fact_id): relation, name in the id, key, activities and moments, what else. -#}
{%- set referral = ["inviter_id_type", "inviter_id", "invitee_id_type", "invitee_id"] %}
{%- set of_invitation = {"columns": {"campaign_id": "fact.campaign_id"}} %}
{%- set known_leads = "(select * from leads where " ~ happened("created_at") ~ ")" %}
{%- for relation, name, key, moments, more in [
    (
        "contacts",
        "contact",
        ["contact_id", "staff_id"],
        {
            "contact_added": "added_at",
            "contact_deleted": "deleted_at",
            "contact_blocked": "blocked_at",
        },
        {"columns": of_contact},
    ),
    (
        "members",
        "member",
        ["member_id"],
        {"member_registered": "registered_at"},
        {"columns": {"channel": "fact.channel"}},
    ),
    (
        "group_memberships",
        "group",
        ["group_id", "id_type", "id", "joined_at"],
        {"group_joined": "joined_at", "group_left": "left_at"},
        {},
    ),
    (
        known_leads,
        "lead",
        ["lead_id"],
        {
            "lead_created": "created_at",
            "lead_mql": "mql_at",
            "lead_sql": "sql_at",
            "lead_lost": "lost_at",
        },
        dict(lead, columns=of_lead),
    ),
    (
        known_leads,
        "lead",
        ["lead_id"],
        {"lead_won": "won_at"},
        dict(lead, columns=dict(of_lead, amount="fact.amount")),
    ),
    (
        "referrals",
        "referral",
        referral,
        {"referral_invited": "invited_at"},
        dict(of_invitation, id_type="fact.inviter_id_type", id="fact.inviter_id"),
    ),
    (
        "referrals",
        "referral",
        referral,
        {"referral_joined": "joined_at"},
        dict(of_invitation, id_type="fact.invitee_id_type", id="fact.invitee_id"),
    ),
    (
        "manual_tags",
        "manual_tag",
        ["id_type", "id", "tag", "set_at"],
        {"manual_tag_set": "set_at", "manual_tag_cleared": "cleared_at"},
        {},
    ),
    ("surveys", "survey", ["response_id", "question"], {"survey_answered": "answered_at"}, {}),
    (
        "experiment_assignments",
        "experiment",
        ["experiment", "id_type", "id"],
        {"experiment_assigned": "assigned_at"},
        {},
    ),
] %}
    {%- set columns = [] %}
    {%- for column in key %} {%- do columns.append("fact." ~ column) %} {%- endfor %}
    {%- for activity, moment in moments.items() %}
        {%- do facts.append(
            (
                relation,
                "'" ~ activity ~ "'",
                moment,
                key,
                fact_id(name, columns) ~ " || ':" ~ activity ~ "'",
                more,
            )
        ) %}
    {%- endfor %}
{%- endfor %}

{%- set imports %}
with
    owners as {{ inline() }} (
        select actor_key, owner_key from {{ ref("int_activity__owners") }} where owner_key is not null
    ),
    orders as {{ inline() }} (select * from {{ ref("int_orders__resolved") }}),
    order_lines as {{ inline() }} (
        select
            order_lines.*,
            coalesce(orders.paid_at, orders.ordered_at) as paid_at,
            orders.channel,
            orders.campaign_id
        from {{ ref("int_order_lines__resolved") }} as order_lines
        inner join orders on orders.order_id = order_lines.order_id
    ),
    refunds as {{ inline() }} (
        select refunds.*, orders.channel, orders.campaign_id
        from {{ ref("int_refunds__resolved") }} as refunds
        left join orders on orders.order_id = refunds.order_id
    ),
    contacts as {{ inline() }} (
        select
            contacts.*,
            'contact_id' as id_type,
            contacts.contact_id as id,
            landing_codes.channel,
            landing_codes.campaign_id
        from {{ ref("stg_raw__contacts") }} as contacts
        left join
            {{ ref("stg_raw__landing_codes") }} as landing_codes
            on landing_codes.state_code = contacts.state_code
    ),
    members as {{ inline() }} (
        select *, 'member_id' as id_type, member_id as id from {{ ref("stg_raw__members") }}
    ),
    group_memberships as {{ inline() }} (select * from {{ ref("stg_raw__group_memberships") }}),
    coupons as {{ inline() }} (select * from {{ ref("stg_raw__coupons") }}),
    leads as {{ inline() }} (
        select
            *,
            case when id_type is null or id is null then 'lead_id' else id_type end as lead_id_type,
            case when id_type is null or id is null then lead_id else id end as lead_identifier
        from {{ ref("stg_raw__leads") }}
    ),
    referrals as {{ inline() }} (select * from {{ ref("stg_raw__referrals") }}),
    surveys as {{ inline() }} (select * from {{ ref("stg_raw__surveys") }}),
    manual_tags as {{ inline() }} (select * from {{ ref("stg_raw__manual_tags") }}),
    experiment_assignments as {{ inline() }} (select * from {{ ref("stg_raw__experiment_assignments") }}),
    consents as {{ inline() }} (select * from {{ ref("stg_raw__consents") }}),
    erasure_requests as {{ inline() }} (select * from {{ ref("stg_raw__erasure_requests") }})
{% endset %}

{%- if forward %}
    {#- The keys of all rows, which take no id that has to be hashed by hand, beside those held: what came and what went. -#}
    {%- set moved %}
        {{ imports }},
        standing as (
            {% for relation, activity, moment, key, id, more in facts %}
                select row_key, fact_key
                from
                    (
                        {{ activity_rows(relation, activity, "fact." ~ moment, id, key, **more) }}
                    ) as rows_of_facts
                {% if not loop.last %}
                    union all
                {% endif %}
            {% endfor %}
        )
        select
            coalesce(standing.row_key, held.row_key) as row_key,
            standing.fact_key,
            standing.row_key is null as is_gone
        from standing
        full outer join
            (select row_key from {{ this }} where removed_on is null) as held
            on held.row_key = standing.row_key
        where standing.row_key is null or held.row_key is null
    {% endset %}
    {%- set moved = counted_rows("moved", moved) %}
    {%- do counted_rows("gone", "select row_key from (" ~ moved ~ ") as moved where is_gone") %}
{%- endif %}

{{ imports }},
{% if forward %}
    added as (select row_key, fact_key from ({{ moved }}) as moved where not is_gone),
{% endif %}
activities as (
    {% for relation, activity, moment, key, id, more in facts %}
        {{
            activity_rows(
                relation, activity, "fact." ~ moment, id, key, among="added" if forward else none, **more
            )
        }}
        {% if not loop.last %}
            union all
        {% endif %}
    {% endfor %}
),
final as (
    select
        actor_key,
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
        amount,
        row_key,
        {{ as_of() }} as added_on,
        cast(null as date) as removed_on
    from activities
)
select *
from final
