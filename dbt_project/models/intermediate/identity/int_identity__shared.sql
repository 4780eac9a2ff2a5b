{{
    config(
        materialized="running",
        unique_key="identifier_key",
        meta={"scratch": ["changed", "stated"]},
    )
}}

{%- set forward = is_forward() -%}
{%- set counting = "refused_because is null and not is_included" -%}
{%- if forward -%}
    {#- Identifiers of which a statement has changed, and all that is stated of them. -#}
    {%- set changed -%}
        {% for side in ["a", "b"] %}
            select identifier_key_{{ side }} as identifier_key
            from {{ ref("int_identity__stated") }}
            where changed_on > {{ forward_from() }} and {{ counting }}
            {% if not loop.last %}
                union
            {% endif %}
        {% endfor %}
    {%- endset -%}
    {%- set changed = counted_rows("changed", changed) -%}
    {%- set stated -%}
        select *
        from {{ ref("int_identity__stated") }}
        where
            {{ counting }}
            and (
                identifier_key_a in (select identifier_key from ({{ changed }}) as a)
                or identifier_key_b in (select identifier_key from ({{ changed }}) as b)
            )
    {%- endset -%}
    {%- set stated = counted_rows("stated", stated) -%}
{%- endif %}
with
    stated as (
        {% if forward %}{{ stated }}
        {% else %}select * from {{ ref("int_identity__stated") }} where {{ counting }}
        {% endif %}
    ),
    identifier_types as (select * from {{ ref("identifier_types") }}),
    fallback as (select * from identifier_types where id_type = '*'),
    kinds as (
        select id_type_a as id_type, id_type_b as other
        from stated
        group by 1, 2
        union
        select id_type_b as id_type, id_type_a as other
        from stated
        group by 1, 2
    ),
    -- Numbered: to group by texts would be most of the work.
    limits as (
        select
            kinds.id_type,
            kinds.other,
            row_number() over (order by kinds.id_type nulls last, kinds.other nulls last) as limit_number,
            case
                when coalesce(far.is_person, fallback.is_person)
                then coalesce(near.max_persons, fallback.max_persons)
                else coalesce(near.max_linked, fallback.max_linked)
            end as most_linked
        from kinds
        cross join fallback
        left join identifier_types as near on near.id_type = kinds.id_type
        left join identifier_types as far on far.id_type = kinds.other
        where coalesce(far.is_counted, fallback.is_counted)
    ),
    neighbours as (
        {% for near, far in [("a", "b"), ("b", "a")] %}
            select
                stated.identifier_key_{{ near }} as identifier_key,
                limits.limit_number,
                limits.most_linked,
                stated.identifier_key_{{ far }} as other_key,
                stated.stated_from,
                stated.stated_until
            from stated
            inner join
                limits
                on limits.id_type = stated.id_type_{{ near }}
                and limits.other = stated.id_type_{{ far }}
            {% if forward %}
                where
                    stated.identifier_key_{{ near }}
                    in (select identifier_key from ({{ changed }}) as changed)
            {% endif %}
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),
    -- Only what is stated more often than the limit can be linked to more than that, and only what is so in
    -- all its
    -- days together can be so on one of them.
    often_stated as (
        select identifier_key, limit_number
        from neighbours
        group by identifier_key, limit_number, most_linked
        having count(*) > most_linked
    ),
    candidates as (
        select neighbours.identifier_key, neighbours.limit_number
        from neighbours
        inner join
            often_stated
            on often_stated.identifier_key = neighbours.identifier_key
            and often_stated.limit_number = neighbours.limit_number
        group by neighbours.identifier_key, neighbours.limit_number, neighbours.most_linked
        having count(distinct neighbours.other_key) > neighbours.most_linked
    ),
    moves as (
        select
            neighbours.identifier_key,
            limits.id_type,
            limits.other,
            neighbours.other_key,
            limits.most_linked,
            case when sides.delta = 1 then neighbours.stated_from else neighbours.stated_until end as day,
            sum(sides.delta) as delta
        from neighbours
        inner join
            candidates
            on candidates.identifier_key = neighbours.identifier_key
            and candidates.limit_number = neighbours.limit_number
        inner join limits on limits.limit_number = neighbours.limit_number
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
        select
            identifier_key,
            id_type,
            other as other_id_type,
            shared_from,
            shared_until,
            {{ as_of() }} as changed_on
        from stretches
        where is_shared and shared_from < shared_until
    )
select *
from final
