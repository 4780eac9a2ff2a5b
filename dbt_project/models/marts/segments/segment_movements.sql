{%- set segmentations = [
    "rfm_cell",
    "aipl_stage",
    "lifecycle_stage",
    "activity_stage",
    "value_layer",
    "revenue_layer",
    "engagement_layer",
    "behaviour_cluster",
] -%}
with

    wide_days as (select * from {{ ref("user_wide_daily") }}),

    names as (select * from {{ ref("segment_names") }}),

    clusters as (select * from {{ ref("cluster_archetypes") }}),

    segments as (
        select segmentation, segment, segment_order, title_zh, title_en
        from names
        union all
        select
            'behaviour_cluster' as segmentation,
            cluster as segment,
            cast(row_number() over (order by cluster asc nulls last) as integer) as segment_order,
            title_zh,
            title_en
        from clusters
    ),

    users as ({{ day_by_day("wide_days", segmentations) }}),

    -- Days that were filled before a column was there have nothing in it.
    moves as (
        {%- for segmentation in segmentations %}
            {%- if not loop.first %}
                union all
            {%- endif %}
            select
                '{{ segmentation }}' as segmentation,
                as_of_date,
                case when was_user then coalesce(from_{{ segmentation }}, 'unknown') end as from_segment,
                case when is_user then coalesce(to_{{ segmentation }}, 'unknown') end as to_segment,
                count(*) as users
            from users
            group by
                as_of_date,
                case when was_user then coalesce(from_{{ segmentation }}, 'unknown') end,
                case when is_user then coalesce(to_{{ segmentation }}, 'unknown') end
        {%- endfor %}
    ),

    ledger as ({{ ledger_of_movements("moves", "segments") }}),

    final as (
        select
            cast(ledger.segmentation as {{ dbt.type_string() }}) as segmentation,
            cast(ledger.segment as {{ dbt.type_string() }}) as segment,
            cast(ledger.as_of_date as date) as as_of_date,
            cast(coalesce(segments.segment_order, 999) as integer) as segment_order,
            cast(coalesce(segments.title_zh, ledger.segment) as {{ dbt.type_string() }}) as title_zh,
            cast(coalesce(segments.title_en, ledger.segment) as {{ dbt.type_string() }}) as title_en,
            {%- for count in ["opening", "came", "moved_in", "moved_out", "gone", "closing"] %}
                cast(ledger.{{ count }} as bigint) as {{ count }} {%- if not loop.last %},{% endif %}
            {%- endfor %}
        from ledger
        left join
            segments on ledger.segmentation = segments.segmentation and ledger.segment = segments.segment
    )

select *
from final
