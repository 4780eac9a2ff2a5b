{#- Written by `jingxi compile`; change contracts.py instead. -#}
with
    latest as (
        {{ latest_version(source("raw", "contents"), key=["content_id"], late=happened("published_at")) }}
    ),
    final as (
        select
            cast(content_id as varchar) as content_id,
            cast(title as varchar) as title,
            cast(topic as varchar) as topic,
            cast(style as varchar) as style,
            cast(format as varchar) as format,
            cast(published_at as timestamp) as published_at,
            cast(properties as varchar) as properties,
            cast(_file_id as varchar) as _file_id,
            cast(_record as bigint) as _record,
            cast({{ counts_from("_arrived_on") }} as date) as _arrived_on,
            cast(_taken_in_at as timestamp) as _taken_in_at,
            cast({{ counts_from("_first_arrived_on") }} as date) as _first_arrived_on
        from latest
    )
select *
from final
