with

    surveys as (select * from {{ ref("stg_raw__surveys") }}),

    lookup as (select * from {{ ref("int_identity__lookup") }}),

    final as (
        select lookup.user_id, count(distinct surveys.response_id) as surveys_count
        from surveys
        inner join lookup on surveys.id_type = lookup.id_type and surveys.id = lookup.id
        where {{ happened("surveys.answered_at") }}
        group by lookup.user_id
    )

select *
from final
