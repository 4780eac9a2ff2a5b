{{ config(materialized="running", incremental_strategy="compare", unique_key="row_key") }}

{%- set dimensions = {
    "product": {
        "category_l1": "category_l1",
        "category_l2": "category_l2",
        "category_l3": "category_l3",
        "brand": "brand",
        "style": "style",
    },
    "content": {"style": "style", "topic": "topic", "format": "format"},
    "campaign": {"campaign_kind": "kind"},
} %}
with
    product as (select * from {{ ref("stg_raw__products") }}),
    content as (select * from {{ ref("stg_raw__contents") }}),
    campaign as (select * from {{ ref("stg_raw__campaigns") }}),
    declared as (select distinct dimension from {{ ref("catalog_tag_sources") }} where kind = 'interest'),
    items as (
        {% for item, columns in dimensions.items() %}
            {% set outer = loop %}
            {% for dimension, column in columns.items() %}
                select
                    '{{ item }}' as item_type,
                    {{ item }}_id as item_id,
                    '{{ dimension }}' as dimension,
                    {{ column }} as value
                from {{ item }}
                {% if not (outer.last and loop.last) %}
                    union all
                {% endif %}
            {% endfor %}
        {% endfor %}
    ),
    final as (
        select
            items.item_type,
            items.item_id,
            items.dimension,
            items.value,
            {{ row_hash(["items.item_type", "items.item_id", "items.dimension", "items.value"]) }} as row_key,
            {{ as_of() }} as added_on,
            cast(null as date) as removed_on
        from items
        inner join declared on items.dimension = declared.dimension
        where trim(items.value) <> ''
    )
select *
from final
