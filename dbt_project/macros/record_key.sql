{#- Written by `jingxi compile`; change contracts.py instead. What versions of the same record share. -#}
{% macro record_key(table) -%}
    {%- set keys = {
        "contacts": ["contact_id", "staff_id"],
        "landing_codes": ["state_code"],
        "members": ["member_id"],
        "identity_links": ["id_type_a", "id_a", "id_type_b", "id_b"],
        "staff": ["staff_id"],
        "groups": ["group_id"],
        "group_memberships": ["group_id", "id_type", "id", "joined_at"],
        "products": ["product_id"],
        "orders": ["order_id"],
        "order_lines": ["order_id", "line_number"],
        "refunds": ["refund_id"],
        "events": ["coalesce(event_id, _file_id || '-' || cast(_record as varchar))"],
        "campaigns": ["campaign_id"],
        "contents": ["content_id"],
        "touches": ["touch_id", "status"],
        "coupons": ["coupon_id"],
        "leads": ["lead_id"],
        "referrals": ["inviter_id_type", "inviter_id", "invitee_id_type", "invitee_id"],
        "surveys": ["response_id", "question"],
        "manual_tags": ["id_type", "id", "tag", "set_at"],
        "channel_costs": ["cost_date", "channel", "campaign_id"],
        "experiment_assignments": ["experiment", "id_type", "id"],
        "consents": ["id_type", "id", "purpose", "channel", "changed_at"],
        "erasure_requests": ["request_id"],
        "targets": ["metric", "period_start", "period_end", "owner"],
        "benchmarks": ["funnel", "step"],
    } -%}
    {{ return(keys[table]) }}
{%- endmacro %}
