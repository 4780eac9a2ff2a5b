{{
    config(
        materialized="by_date",
        meta={"by_date": "as_of_date"},
    )
}}

-- Built after the tables whose days it counts:
-- depends_on: {{ ref('audience_history') }}
-- depends_on: {{ ref('audience_metrics') }}
-- depends_on: {{ ref('audience_suppressions') }}
-- depends_on: {{ ref('rfm_daily') }}
-- depends_on: {{ ref('user_tag_history') }}
-- depends_on: {{ ref('user_wide_daily') }}
with

    final as (
        select
            cast({{ as_of() }} as date) as as_of_date,
            cast({{ input_hash() }} as {{ dbt.type_string() }}) as input_hash
    )

select *
from final
