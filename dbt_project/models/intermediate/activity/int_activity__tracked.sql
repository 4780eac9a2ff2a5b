{{ config(materialized="view") }}

with
    stream as (select * from {{ ref("int_activity__stream") }}),
    kinds as (select * from {{ ref("int_activity__kinds") }}),
    subjects as (select * from {{ ref("int_activity__subjects") }}),
    final as (
        select
            stream.actor_key,
            kinds.activity,
            stream.occurred_at,
            stream.activity_date,
            cast(stream.activity_key as varchar) as activity_id,
            kinds.channel,
            kinds.touchpoint,
            stream.session_key,
            subjects.product_id,
            subjects.content_id,
            subjects.campaign_id,
            cast(null as decimal(18, 4)) as amount,
            stream.touch_id,
            stream.added_on,
            stream.removed_on
        from stream
        inner join kinds on kinds.kind_key = stream.kind_key
        inner join subjects on subjects.subject_key = stream.subject_key
    )
select *
from final
