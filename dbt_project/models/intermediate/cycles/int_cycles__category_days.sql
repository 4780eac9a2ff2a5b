with

    purchases as (select * from {{ ref("int_cycles__purchases") }}),

    products as (select * from {{ ref("stg_raw__products") }} where category_l1 is not null),

    buyers as (select * from {{ ref("user_order_cycle") }}),

    -- Ids are keyed hashes: the first of them in order are a sample by chance that stays nearly the same
    -- from day to day.
    sample as (
        select user_id
        from buyers
        order by user_id asc nulls last
        limit {{ var("next_category_sample_customers") }}
    ),

    category_days as {{ computed_once() }} (
        select purchases.user_id, purchases.purchase_date, products.category_l1 as category
        from purchases
        inner join sample on purchases.user_id = sample.user_id
        inner join products on purchases.product_id = products.product_id
        group by purchases.user_id, purchases.purchase_date, products.category_l1
    ),

    days as (select user_id, purchase_date from category_days group by user_id, purchase_date),

    followed as (
        select
            user_id,
            purchase_date,
            lead(purchase_date) over (
                partition by user_id order by purchase_date asc nulls last
            ) as next_purchase_date
        from days
    ),

    final as (
        select
            category_days.user_id,
            category_days.purchase_date,
            category_days.category,
            followed.next_purchase_date
        from category_days
        inner join
            followed
            on category_days.user_id = followed.user_id
            and category_days.purchase_date = followed.purchase_date
    )

select *
from final
