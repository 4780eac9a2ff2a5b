with
    stated as (
        select * from {{ ref("int_identity__stated") }} where refused_because is null and not is_included
    ),
    identifier_types as (select * from {{ ref("identifier_types") }}),
    fallback as (select * from identifier_types where id_type = '*'),
    neighbours as (
        {% for near, far in [("a", "b"), ("b", "a")] %}
            select
                identifier_key_{{ near }} as identifier_key,
                id_type_{{ near }} as id_type,
                id_type_{{ far }} as other,
                identifier_key_{{ far }} as other_key,
                stated_from,
                stated_until
            from stated
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    limits as (
        select
            kinds.id_type,
            kinds.other,
            case
                when coalesce(far.is_person, fallback.is_person)
                then coalesce(near.max_persons, fallback.max_persons)
                else coalesce(near.max_linked, fallback.max_linked)
            end as most_linked
        from (select distinct id_type, other from neighbours) as kinds
        cross join fallback
        left join identifier_types as near on near.id_type = kinds.id_type
        left join identifier_types as far on far.id_type = kinds.other
        where coalesce(far.is_counted, fallback.is_counted)
    ),
    -- Only what is linked too often in all its days together can be so on one of them.
    candidates as (
        select neighbours.identifier_key, neighbours.other, limits.most_linked
        from neighbours
        inner join limits on limits.id_type = neighbours.id_type and limits.other = neighbours.other
        group by 1, 2, 3
        having count(distinct neighbours.other_key) > limits.most_linked
    ),
    moves as (
        select
            neighbours.identifier_key,
            neighbours.id_type,
            neighbours.other,
            neighbours.other_key,
            candidates.most_linked,
            case when sides.delta = 1 then neighbours.stated_from else neighbours.stated_until end as day,
            sum(sides.delta) as delta
        from neighbours
        inner join
            candidates
            on candidates.identifier_key = neighbours.identifier_key
            and candidates.other = neighbours.other
        cross join (values (1), (-1)) as sides(delta)
        group by 1, 2, 3, 4, 5, 6
    ),
    counted as (
        select
            *,
            sum(delta) over (
                partition by identifier_key, other, other_key
                order by day nulls last
                rows between unbounded preceding and current row
            ) as statements
        from moves
    ),
    changes as (
        select
            identifier_key,
            id_type,
            other,
            most_linked,
            day,
            sum(
                case
                    when statements > 0 and statements = delta
                    then 1
                    when statements = 0 and delta < 0
                    then -1
                    else 0
                end
            ) as delta
        from counted
        group by 1, 2, 3, 4, 5
    ),
    degrees as (
        select
            *,
            sum(delta) over (
                partition by identifier_key, other
                order by day nulls last
                rows between unbounded preceding and current row
            ) as linked
        from changes
    ),
    turns as (
        select
            *,
            linked > most_linked as is_shared,
            coalesce(
                lag(linked > most_linked) over (partition by identifier_key, other order by day nulls last),
                false
            ) as was_shared
        from degrees
    ),
    stretches as (
        select
            identifier_key,
            id_type,
            other,
            is_shared,
            day as shared_from,
            coalesce(
                lead(day) over (partition by identifier_key, other order by day nulls last), {{ open_end() }}
            ) as shared_until
        from turns
        where is_shared <> was_shared
    ),
    final as (
        select identifier_key, id_type, other as other_id_type, shared_from, shared_until
        from stretches
        where is_shared and shared_from < shared_until
    )
select *
from final
