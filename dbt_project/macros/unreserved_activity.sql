{#-
    The activity of an event whose name nobody mapped: the name itself, unless another table's facts carry it. An app
    that tracks `order_paid` must not double the orders; map the name in event_names.csv to say what it means.
-#}
{% macro unreserved_activity(event_name) -%}
    case
        when
            {{ event_name }} in (
                'order_placed',
                'order_paid',
                'order_refunded',
                'item_paid',
                'member_registered',
                'group_joined',
                'group_left',
                'coupon_issued',
                'coupon_used',
                'coupon_expired',
                'survey_answered',
                'experiment_assigned',
                'erasure_requested'
            )
            or {{ event_name }} like 'contact_%'
            or {{ event_name }} like 'touch_%'
            or {{ event_name }} like 'lead_%'
            or {{ event_name }} like 'referral_%'
            or {{ event_name }} like 'consent_%'
            or {{ event_name }} like 'manual_tag_%'
        then 'event_' || {{ event_name }}
        else {{ event_name }}
    end
{%- endmacro %}
