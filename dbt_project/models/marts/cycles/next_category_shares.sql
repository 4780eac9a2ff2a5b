{%- set prior = var("next_category_prior_customers") -%}
{%- set tested_on = add_days(as_of(), "-" ~ var("next_category_test_days")) -%}
with

    category_days as (select * from {{ ref("int_cycles__category_days") }}),

    steps as (
        select
            earlier.user_id,
            earlier.category,
            later.category as next_category,
            count(*) as steps_count,
            count(case when later.purchase_date <= {{ tested_on }} then 1 end) as steps_then
        from category_days as earlier
        inner join
            category_days as later
            on earlier.user_id = later.user_id
            and earlier.next_purchase_date = later.purchase_date
        group by earlier.user_id, earlier.category, later.category
    ),

    totals as (
        select user_id, category, sum(steps_count) as steps_count, sum(steps_then) as steps_then
        from steps
        group by user_id, category
    ),

    customers as (
        select
            category,
            count(*) as customers_count,
            count(case when steps_then > 0 then 1 end) as customers_then
        from totals
        group by category
    ),

    -- A customer's one vote for what comes after a category, split over all that came. Summed in
    -- steps of 1e-9, in any order.
    votes as (
        select
            steps.category,
            steps.next_category,
            sum(cast(round(1e9 * cast(steps.steps_count as double) / totals.steps_count) as bigint)) as votes,
            sum(
                cast(
                    round(
                        1e9
                        * cast(steps.steps_then as double)
                        / cast(greatest(totals.steps_then, 1) as double)
                    ) as bigint
                )
            ) as votes_then
        from steps
        inner join totals on steps.user_id = totals.user_id and steps.category = totals.category
        group by steps.category, steps.next_category
    ),

    all_votes as (select sum(votes) as votes, sum(votes_then) as votes_then from votes),

    base as (
        select
            votes.next_category,
            cast(sum(votes.votes) as double) / cast(max(all_votes.votes) as double) as share,
            cast(sum(votes.votes_then) as double)
            / nullif(cast(max(all_votes.votes_then) as double), 0) as share_then
        from votes
        cross join all_votes
        group by votes.next_category
    ),

    shares as (
        select
            customers.category,
            base.next_category,
            customers.customers_count,
            customers.customers_then,
            cast(coalesce(votes.votes, 0) as double) / 1e9 as votes,
            cast(coalesce(votes.votes_then, 0) as double) / 1e9 as votes_then,
            base.share as base_share,
            base.share_then as base_share_then
        from customers
        cross join base
        left join votes on customers.category = votes.category and base.next_category = votes.next_category
    ),

    final as (
        select
            cast(category as {{ dbt.type_string() }}) as category,
            cast(next_category as {{ dbt.type_string() }}) as next_category,
            cast({{ as_of() }} as date) as as_of_date,
            cast(customers_count as bigint) as customers_count,
            cast(customers_count >= {{ var("next_category_min_customers") }} as boolean) as is_used,
            cast(votes as decimal(18, 6)) as votes,
            cast(base_share as decimal(9, 6)) as base_share,
            cast(
                (votes + {{ prior }} * base_share) / (customers_count + {{ prior }}) as decimal(9, 6)
            ) as share,
            cast({{ tested_on }} as date) as tested_on_date,
            cast(customers_then as bigint) as customers_count_then,
            cast(customers_then >= {{ var("next_category_min_customers") }} as boolean) as is_used_then,
            cast(base_share_then as decimal(9, 6)) as base_share_then,
            cast(
                case
                    when customers_then > 0
                    then (votes_then + {{ prior }} * base_share_then) / (customers_then + {{ prior }})
                end as decimal(9, 6)
            ) as share_then
        from shares
    )

select *
from final
