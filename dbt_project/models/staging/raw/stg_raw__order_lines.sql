{#- Written by `jingxi compile`; change contracts.py instead. -#}
{{
    config(
        materialized="running",
        unique_key=["order_id", "line_number"],
        incremental_predicates=["_first_arrived_on <= " ~ forward_from()],
        meta={"tombstones": true},
    )
}}

with
    latest as (
        {{
            latest_version(
                raw_rows(source("raw", "order_lines"), "order_lines"),
                key=["order_id", "line_number"],
                few_repeat=true,
            )
        }}
    ),
    dated as ({{ known_since("latest", "order_lines") }}),
    typed as (
        select
            cast(order_id as varchar) as order_id,
            cast(line_number as bigint) as line_number,
            cast(product_id as varchar) as product_id,
            cast(quantity as decimal(18, 4)) as quantity,
            cast(amount as decimal(18, 4)) as amount,
            cast(discount_amount as decimal(18, 4)) as discount_amount,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_known_since") }} as date) as _first_arrived_on
        from dated
    ),
    final as ({{ staged_rows("typed", "order_lines") }})
select *
from final
