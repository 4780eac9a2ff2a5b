{#- Names of all input tables. Written by `jingxi compile`; change contracts.py instead. -#}
{% macro input_tables() -%}
    {{
        return(
            [
                "contacts",
                "landing_codes",
                "members",
                "identity_links",
                "staff",
                "groups",
                "group_memberships",
                "products",
                "orders",
                "order_lines",
                "refunds",
                "events",
                "campaigns",
                "contents",
                "touches",
                "coupons",
                "leads",
                "referrals",
                "surveys",
                "manual_tags",
                "channel_costs",
                "experiment_assignments",
                "consents",
                "erasure_requests",
                "targets",
                "benchmarks",
            ]
        )
    }}
{%- endmacro %}
