{%- set tested_on = add_days(as_of(), "-" ~ var("next_category_test_days")) -%}
with

    predictions as (select * from {{ ref("int_cycles__next_categories") }} where is_test),

    category_days as (select * from {{ ref("int_cycles__category_days") }}),

    shares as (select * from {{ ref("next_category_shares") }}),

    ranked as (
        select
            next_category,
            row_number() over (
                order by max(base_share_then) desc nulls last, next_category asc nulls last
            ) as place
        from shares
        where base_share_then is not null
        group by next_category
    ),

    baseline as (select next_category from ranked where place = 1),

    following as (
        select user_id, min(purchase_date) as purchase_date
        from category_days
        where purchase_date > {{ tested_on }}
        group by user_id
    ),

    judged as (
        select
            predictions.user_id,
            predictions.next_category,
            baseline.next_category as baseline_category,
            max(case when category_days.category = predictions.next_category then 1 else 0 end) as is_hit,
            max(
                case when category_days.category = baseline.next_category then 1 else 0 end
            ) as is_baseline_hit
        from predictions
        cross join baseline
        inner join following on predictions.user_id = following.user_id
        inner join
            category_days
            on following.user_id = category_days.user_id
            and following.purchase_date = category_days.purchase_date
        group by predictions.user_id, predictions.next_category, baseline.next_category
    ),

    counted as (
        select
            next_category,
            baseline_category,
            count(*) as customers_count,
            sum(is_hit) as hits_count,
            sum(is_baseline_hit) as baseline_hits_count,
            sum(case when is_hit > is_baseline_hit then 1 else 0 end) as gained_count,
            sum(case when is_hit < is_baseline_hit then 1 else 0 end) as lost_count
        from judged
        group by next_category, baseline_category
    ),

    final as (
        select
            cast(next_category as {{ dbt.type_string() }}) as next_category,
            cast({{ as_of() }} as date) as as_of_date,
            cast({{ tested_on }} as date) as tested_on_date,
            cast(baseline_category as {{ dbt.type_string() }}) as baseline_category,
            cast(customers_count as bigint) as customers_count,
            cast(hits_count as bigint) as hits_count,
            cast(baseline_hits_count as bigint) as baseline_hits_count,
            cast(cast(hits_count as double) / customers_count as decimal(9, 6)) as hit_rate,
            cast(cast(baseline_hits_count as double) / customers_count as decimal(9, 6)) as baseline_hit_rate,
            cast(gained_count as bigint) as gained_count,
            cast(lost_count as bigint) as lost_count,
            -- McNemar (1947): 3.841 is the 95 per cent point of chi-square with one degree of freedom.
            cast(
                case
                    when next_category = baseline_category
                    then 'same'
                    when gained_count + lost_count < 10
                    then 'too_few'
                    when
                        (gained_count - lost_count) * (gained_count - lost_count)
                        <= 3.841 * (gained_count + lost_count)
                    then 'no_difference'
                    when gained_count > lost_count
                    then 'better'
                    else 'worse'
                end as {{ dbt.type_string() }}
            ) as finding
        from counted
    )

select *
from final
