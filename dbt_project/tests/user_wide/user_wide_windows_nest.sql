{{ config(meta={"dagster": {"ref": {"name": "user_wide"}}}) }}
-- A shorter window never holds more than a longer one, shares lie between 0 and 1, and stages fit the
-- numbers.
select user_id
from {{ ref("user_wide") }}
where
    active_days_7d > active_days_30d
    or active_days_30d > active_days_90d
    or active_days_7d > 7
    or active_days_30d > 30
    or active_days_90d > 90
    or views_count_7d > views_count_30d
    or views_count_30d > views_count_90d
    or carts_count_7d > carts_count_30d
    or orders_count_30d > orders_count_90d
    or orders_count_90d > orders_count_365d
    or orders_count_365d > orders_count
    or order_days_count > orders_count
    {%- for status in ["sent", "delivered", "opened", "clicked", "replied", "unsubscribed"] %}
        or touches_{{ status }}_count_7d > touches_{{ status }}_count_30d
        or touches_{{ status }}_count_30d > touches_{{ status }}_count_90d
    {%- endfor %}
    {%- for name in ["searches", "favourites", "shares", "lives"] %}
        or {{ name }}_count_30d > {{ name }}_count_90d
    {%- endfor %}
    or searches_count_7d > searches_count_30d
    or invited_joined_count > invited_count
    or not open_rate_90d between 0 and 1
    or not click_rate_90d between 0 and 1
    or first_seen_date > last_seen_date
    or last_active_date > {{ as_of() }}
    or last_order_date > {{ as_of() }}
    or (is_birthday_week and birth_month is null)
    or not best_hour between 0 and 23
    or acquisition_date > {{ as_of() }}
    or (acquisition_channel is null) <> (acquisition_date is null)
    or acquisition_cost < 0
    or (contact_added_date is null) <> (days_since_contact_added is null)
    or (contact_days is null) <> (contact_deleted_date is null)
    or contact_days not between 0
    and days_since_contact_added
    or is_contact_deleted_within_1d
    and not coalesce(is_contact_deleted_within_7d, false)
    or is_contact_deleted_within_7d
    and not coalesce(is_contact_deleted_within_30d, false)
    or is_contact_deleted_within_30d
    and not is_contact_deleted
    or (has_open_cart and carts_count_7d = 0)
    or (is_contact and is_contact_deleted)
    or (is_invited and inviter_user_id = user_id)
    or (rfm_cell = 'no_order') <> (r_score is null)
    or (rfm_cell <> 'no_order' and orders_count = 0)
    or (lifecycle_stage in ('new_unbought', 'old_unbought')) <> (orders_count = 0)
    or (lifecycle_stage in ('new_unbought', 'new_bought')) <> (activity_stage = 'new')
