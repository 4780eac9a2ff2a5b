{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["refund_id"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "refunds"), "refunds"),
                key=["refund_id"],
                late=happened("refunded_at"),
            )
        }}
    ),
    dated as ({{ known_since("latest", "refunds") }}),
    typed as (
        select
            cast(refund_id as varchar) as refund_id,
            cast(refunded_at as timestamp) as refunded_at,
            cast(amount as decimal(18, 4)) as amount,
            cast(order_id as varchar) as order_id,
            cast(id_type as varchar) as id_type,
            cast(id as varchar) as id,
            cast(product_id as varchar) as product_id,
            cast(quantity as decimal(18, 4)) as quantity,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "refunds") }})
select *
from final
