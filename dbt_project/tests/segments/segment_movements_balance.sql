{{ config(meta={"dagster": {"ref": {"name": "segment_movements"}}}) }}
-- Opening + in - out = closing; a closing is the next opening; what moves out of one segment moves into
-- another; each
-- way of cutting holds every user of the day once.
with

    ledger as (select * from {{ ref("segment_movements") }}),

    held as (select as_of_date, count(*) as users from {{ ref("user_wide_daily") }} group by as_of_date),

    unbalanced as (
        select segmentation, as_of_date
        from ledger
        where opening + came + moved_in - moved_out - gone <> closing
    ),

    torn as (
        select earlier.segmentation, earlier.as_of_date
        from ledger as earlier
        inner join
            ledger as later
            on earlier.segmentation = later.segmentation
            and earlier.segment = later.segment
            and {{ add_days("earlier.as_of_date", 1) }} = later.as_of_date
        where earlier.closing <> later.opening
    ),

    incomplete as (
        select ledger.segmentation, ledger.as_of_date
        from ledger
        left join held on ledger.as_of_date = held.as_of_date
        group by ledger.segmentation, ledger.as_of_date, held.users
        having sum(ledger.moved_in) <> sum(ledger.moved_out) or sum(ledger.closing) <> coalesce(held.users, 0)
    ),

    final as (
        select *
        from unbalanced
        union all
        select *
        from torn
        union all
        select *
        from incomplete
    )

select *
from final
