{{ config(meta={"dagster": {"ref": {"name": "rfm_segments"}}}) }}
-- Money here = money of the orders that count, less refunds, straight from the facts.
with

    segments as (select * from {{ ref("rfm_segments") }}),

    facts as (
        select user_id, {{ "net_amount" if var("rfm_monetary") == "net" else "amount" }} as amount
        from {{ ref("int_orders__resolved") }}
        where is_paid and not is_fully_refunded and {{ rfm_in_window("ordered_date") }}
        {%- if var("rfm_monetary") == "net" %}
            union all
            select user_id, - amount as amount
            from {{ ref("int_refunds__resolved") }}
            where order_id is null and {{ rfm_in_window("refunded_date") }}
        {%- endif %}
    ),

    final as (
        select
            (select coalesce(sum(monetary), 0) from segments) as segments_amount,
            (
                select coalesce(sum(facts.amount), 0)
                from facts
                inner join segments on facts.user_id = segments.user_id
            ) as facts_amount
    )

select *
from final
where segments_amount <> facts_amount
