{{ config(meta={"dagster": {"ref": {"name": "user_scores"}}}) }}
-- A score is the sum of its parts and lies between 0 and 100; so do the points that the rules give away.
with

    scores as (select * from {{ ref("user_scores") }}),

    points as (select sum(points) as points from {{ ref("score_parts") }}),

    final as (
        select scores.user_id
        from scores
        cross join points
        where
            scores.score
            <> scores.money_points
            + scores.frequency_points
            + scores.recency_points
            + scores.activity_points
            + scores.content_points
            + scores.response_points
            + scores.relation_points
            + scores.advocacy_points
            or scores.score not between 0
            and 100
            or points.points <> 100
    )

select *
from final
