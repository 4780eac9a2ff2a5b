{{ config(meta={"dagster": {"ref": {"name": "aipl_flow"}}}) }}
-- Over all channels, the flow into each stage is its closing in the ledger, and the flow out of it its
-- opening.
with

    flow as (select * from {{ ref("aipl_flow") }}),

    ledger as (select * from {{ ref("segment_movements") }} where segmentation = 'aipl_stage'),

    counted as (
        select
            ledger.segment,
            ledger.as_of_date,
            ledger.opening,
            ledger.closing,
            coalesce(sum(flow.users) filter (where flow.from_stage = ledger.segment), 0) as flow_from,
            coalesce(sum(flow.users) filter (where flow.to_stage = ledger.segment), 0) as flow_to
        from ledger
        left join flow on ledger.as_of_date = flow.as_of_date
        group by ledger.segment, ledger.as_of_date, ledger.opening, ledger.closing
    ),

    final as (select * from counted where flow_from <> opening or flow_to <> closing)

select *
from final
