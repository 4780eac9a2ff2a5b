{%- set tested_on = add_days(as_of(), "-" ~ var("next_category_test_days")) -%}
with

    purchases as (select * from {{ ref("int_cycles__purchases") }}),

    products as (select * from {{ ref("stg_raw__products") }} where category_l1 is not null),

    category_days as (select * from {{ ref("int_cycles__category_days") }}),

    shares as (select * from {{ ref("next_category_shares") }}),

    bought as {{ computed_once() }} (
        select purchases.user_id, purchases.purchase_date, products.category_l1 as category
        from purchases
        inner join products on purchases.product_id = products.product_id
    ),

    last_days as (select user_id, max(purchase_date) as purchase_date from bought group by user_id),

    last_categories as (
        select bought.user_id, bought.category
        from bought
        inner join
            last_days on bought.user_id = last_days.user_id and bought.purchase_date = last_days.purchase_date
        group by bought.user_id, bought.category
    ),

    -- What was last bought on the day from which the prediction is tested, by the users it is made from.
    tested_categories as (
        select user_id, category
        from category_days
        where
            purchase_date <= {{ tested_on }}
            and (next_purchase_date is null or next_purchase_date > {{ tested_on }})
    ),

    used as (select category, is_used, is_used_then from shares group by category, is_used, is_used_then),

    considered as {{ computed_once() }} (
        select
            last_categories.user_id,
            false as is_test,
            last_categories.category,
            cast({{ row_hash(["last_categories.category"]) }} as decimal(38, 0)) as category_key
        from last_categories
        inner join used on last_categories.category = used.category
        where used.is_used
        union all
        select
            tested_categories.user_id,
            true as is_test,
            tested_categories.category,
            cast({{ row_hash(["tested_categories.category"]) }} as decimal(38, 0)) as category_key
        from tested_categories
        inner join used on tested_categories.category = used.category
        where used.is_used_then
    ),

    -- Whoever bought the same categories is predicted the same: there are far fewer baskets than users.
    user_baskets as {{ computed_once() }} (
        select user_id, is_test, sum(category_key) as basket_key from considered group by user_id, is_test
    ),

    examples as (
        select is_test, basket_key, min(user_id) as user_id from user_baskets group by is_test, basket_key
    ),

    baskets as (
        select examples.is_test, examples.basket_key, considered.category
        from examples
        inner join
            considered on examples.user_id = considered.user_id and examples.is_test = considered.is_test
    ),

    scores as (
        select
            baskets.is_test,
            baskets.basket_key,
            shares.next_category,
            sum(case when baskets.is_test then shares.share_then else shares.share end) as score,
            count(*) as categories_count,
            max(
                case when baskets.is_test then shares.base_share_then else shares.base_share end
            ) as base_share
        from baskets
        inner join shares on baskets.category = shares.category
        group by baskets.is_test, baskets.basket_key, shares.next_category
    ),

    ranked as (
        select
            is_test,
            basket_key,
            next_category,
            cast(score as double) / categories_count as mean_share,
            row_number() over (
                partition by is_test, basket_key
                order by score desc nulls last, base_share desc nulls last, next_category asc nulls last
            ) as place
        from scores
    ),

    final as (
        select
            user_baskets.user_id,
            user_baskets.is_test,
            ranked.next_category,
            cast(round(ranked.mean_share, 2) as decimal(9, 2)) as next_category_share
        from user_baskets
        inner join
            ranked on user_baskets.is_test = ranked.is_test and user_baskets.basket_key = ranked.basket_key
        where ranked.place = 1
    )

select *
from final
