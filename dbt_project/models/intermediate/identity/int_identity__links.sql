{{
    config(
        materialized="running",
        unique_key=["identifier_key_a", "identifier_key_b"],
        meta={"scratch": ["stated"]},
    )
}}

{%- set forward = is_forward() -%}
{%- if forward -%}
    {#- All that is stated of the pairs of which a statement has changed, or a side's being shared. -#}
    {%- set stated -%}
        with
            stated as (select * from {{ ref("int_identity__stated") }} where refused_because is null),
            shared as (
                select identifier_key
                from {{ ref("int_identity__shared") }}
                where changed_on > {{ forward_from() }}
            ),
            changed as (
                select identifier_key_a, identifier_key_b
                from stated
                where
                    changed_on > {{ forward_from() }}
                    or identifier_key_a in (select identifier_key from shared)
                    or identifier_key_b in (select identifier_key from shared)
                group by 1, 2
            )
        select stated.*
        from stated
        inner join
            changed
            on changed.identifier_key_a = stated.identifier_key_a
            and changed.identifier_key_b = stated.identifier_key_b
    {%- endset -%}
    {%- set stated = counted_rows("stated", stated) -%}
{%- endif %}
with
    stated as (
        {% if forward %}{{ stated }}
        {% else %}select * from {{ ref("int_identity__stated") }} where refused_because is null
        {% endif %}
    ),
    shared as (select * from {{ ref("int_identity__shared") }}),
    shared_keys as (select distinct identifier_key from shared),
    stretches as (
        select identifier_key_a, identifier_key_b, is_included, stated_from, stated_until
        from stated
        group by 1, 2, 3, 4, 5
    ),
    pairs as (
        select
            stretches.identifier_key_a,
            stretches.identifier_key_b,
            stretches.is_included,
            shared_a.identifier_key is not null or shared_b.identifier_key is not null as is_with_shared,
            count(*) as stretches,
            min(stretches.stated_from) as stated_from,
            max(stretches.stated_until) as stated_until
        from stretches
        left join shared_keys as shared_a on shared_a.identifier_key = stretches.identifier_key_a
        left join shared_keys as shared_b on shared_b.identifier_key = stretches.identifier_key_b
        group by 1, 2, 3, 4
    ),
    -- The others are swept day by day: where they are stated and neither side is above its limit.
    swept as (select * from pairs where stretches > 1 or (is_with_shared and not is_included)),
    bounds as (
        select
            swept.identifier_key_a,
            swept.identifier_key_b,
            stretches.stated_from as begins_on,
            stretches.stated_until as ends_on,
            1 as stated,
            0 as blocked
        from swept
        inner join
            stretches
            on stretches.identifier_key_a = swept.identifier_key_a
            and stretches.identifier_key_b = swept.identifier_key_b
        {% for side in ["a", "b"] %}
            union all
            select
                swept.identifier_key_a,
                swept.identifier_key_b,
                shared.shared_from as begins_on,
                shared.shared_until as ends_on,
                0 as stated,
                1 as blocked
            from swept
            inner join shared on shared.identifier_key = swept.identifier_key_{{ side }}
            where not swept.is_included
        {% endfor %}
    ),
    moves as (
        select
            bounds.identifier_key_a,
            bounds.identifier_key_b,
            case when sides.delta = 1 then bounds.begins_on else bounds.ends_on end as day,
            sum(bounds.stated * sides.delta) as stated,
            sum(bounds.blocked * sides.delta) as blocked
        from bounds
        cross join (values (1), (-1)) as sides(delta)
        group by 1, 2, 3
    ),
    counted as (
        select
            identifier_key_a,
            identifier_key_b,
            day,
            sum(stated) over days > 0 and sum(blocked) over days = 0 as counts
        from moves
        window
            days as (
                partition by identifier_key_a, identifier_key_b
                order by day nulls last
                rows between unbounded preceding and current row
            )
    ),
    turns as (
        select
            *,
            coalesce(
                lag(counts) over (partition by identifier_key_a, identifier_key_b order by day nulls last),
                false
            ) as counted_before
        from counted
    ),
    turned as (
        select
            identifier_key_a,
            identifier_key_b,
            counts,
            day as counts_from,
            coalesce(
                lead(day) over (partition by identifier_key_a, identifier_key_b order by day nulls last),
                {{ open_end() }}
            ) as counts_until
        from turns
        where counts <> counted_before
    ),
    final as (
        select identifier_key_a, identifier_key_b, counts_from, counts_until
        from turned
        where counts and counts_from < counts_until
        union all
        select identifier_key_a, identifier_key_b, stated_from as counts_from, stated_until as counts_until
        from pairs
        where stretches = 1 and (is_included or not is_with_shared)
    )
select *
from final
