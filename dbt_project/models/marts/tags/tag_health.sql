with

    definitions as (select * from {{ ref("catalog_tag_definitions") }}),

    coverage as (select * from {{ ref("tag_coverage") }}),

    user_tags as (select * from {{ ref("user_tags") }}),

    history as (select * from {{ ref("user_tag_history") }}),

    value_counts as (select * from {{ ref("int_tags__value_counts") }}),

    uses as (select * from {{ ref("catalog_tag_uses") }}),

    thickness as (select user_id, count(*) as tags_count from user_tags group by user_id),

    all_tags as (select sum(tags_count) as tags_count from thickness),

    carried as (
        select
            user_tags.tag,
            count(distinct user_tags.value) as values_count,
            avg(cast(thickness.tags_count as double)) as tags_per_carrier,
            count(
                case when user_tags.last_confirmed_at >= {{ day_start(add_days(as_of(), -29)) }} then 1 end
            ) as fresh_count
        from user_tags
        inner join thickness on user_tags.user_id = thickness.user_id
        group by user_tags.tag
    ),

    compared as (
        select
            tag,
            max(compared_with_date) as compared_with_date,
            coalesce(
                sum(case when as_of_date = compared_with_date and value is not null then users_count end), 0
            ) as carriers_then,
            coalesce(
                sum(case when as_of_date = compared_with_date and value is null then users_count end), 0
            ) as others_then,
            coalesce(
                sum(case when as_of_date = compared_with_date and value is not null then ordered_count end), 0
            ) as carriers_ordered,
            coalesce(
                sum(case when as_of_date = compared_with_date and value is null then ordered_count end), 0
            ) as others_ordered
        from value_counts
        group by tag
    ),

    moves as (
        select
            history.tag,
            count(case when history.change = 'set' then 1 end) as set_count,
            count(case when history.change = 'changed' then 1 end) as changed_count,
            count(case when history.change in ('cleared', 'expired') then 1 end) as lost_count
        from history
        inner join compared on history.tag = compared.tag
        where history.as_of_date > compared.compared_with_date and history.as_of_date <= {{ as_of() }}
        group by history.tag
    ),

    -- Numbers and days fall into tenths of the earlier day's users, all other values stand for themselves.
    sides as (
        select
            value_counts.tag,
            definitions.value_type,
            value_counts.value,
            case
                when definitions.value_type = 'number'
                then try_cast(value_counts.value as double)
                when definitions.value_type = 'date'
                then
                    cast(
                        {{
                            days_between(
                                "cast('1970-01-01' as date)", "try_cast(value_counts.value as date)"
                            )
                        }} as double
                    )
            end as rank_value,
            sum(
                case
                    when value_counts.as_of_date = value_counts.compared_with_date
                    then value_counts.users_count
                    else 0
                end
            ) as users_then,
            sum(
                case when value_counts.as_of_date = {{ as_of() }} then value_counts.users_count else 0 end
            ) as users_now
        from value_counts
        inner join definitions on value_counts.tag = definitions.tag
        where value_counts.compared_with_date < {{ as_of() }}
        group by value_counts.tag, definitions.value_type, value_counts.value
    ),

    ranked as (
        select
            *,
            sum(users_then) over (
                partition by tag, rank_value is null
                order by rank_value asc nulls last, value asc nulls last
                rows between unbounded preceding and current row
            )
            - users_then as users_below,
            sum(users_then) over (partition by tag, rank_value is null) as users_ranked
        from sides
    ),

    bins as (
        select
            tag,
            case
                when rank_value is null
                then coalesce('=' || value, 'not set')
                else
                    'tenth ' || cast(
                        least(
                            {{ integer_divide("10 * users_below", "greatest(users_ranked, 1)") }}, 9
                        ) as {{ dbt.type_string() }}
                    )
            end as bin,
            sum(users_then) as users_then,
            sum(users_now) as users_now
        from ranked
        group by
            tag,
            case
                when rank_value is null
                then coalesce('=' || value, 'not set')
                else
                    'tenth ' || cast(
                        least(
                            {{ integer_divide("10 * users_below", "greatest(users_ranked, 1)") }}, 9
                        ) as {{ dbt.type_string() }}
                    )
            end
    ),

    shares as (
        select
            tag,
            bin,
            -- An empty bin counts as one user in ten thousand, or the logarithm has no value.
            greatest(
                cast(users_then as double) / nullif(
                    sum(users_then) over (
                        partition by tag
                        order by bin asc nulls last
                        rows between unbounded preceding and unbounded following
                    ),
                    0
                ),
                0.0001
            ) as share_then,
            greatest(
                cast(users_now as double) / nullif(
                    sum(users_now) over (
                        partition by tag
                        order by bin asc nulls last
                        rows between unbounded preceding and unbounded following
                    ),
                    0
                ),
                0.0001
            ) as share_now
        from bins
    ),

    terms as (select tag, bin, (share_now - share_then) * ln(share_now / share_then) as term from shares),

    -- Population stability index (Siddiqi, Credit Risk Scorecards, 2006): the sum over bins of
    -- (share now - share then) * ln(share now / share then). Summed in steps of 1e-12, in any order.
    shifts as (
        select tag, cast(sum(cast(round(term * 1e12) as decimal(38, 0))) as double) / 1e12 as psi
        from terms
        group by tag
    ),

    used as (
        select
            tag, count(*) as uses_count, string_agg(used_by, ', ' order by used_by asc nulls last) as used_by
        from uses
        group by tag
    ),

    measured as (
        select
            coverage.tag,
            coverage.users_count,
            coverage.set_count,
            coverage.not_set_count,
            coverage.not_evaluable_count,
            carried.values_count,
            carried.tags_per_carrier,
            carried.fresh_count,
            all_tags.tags_count,
            compared.compared_with_date,
            compared.carriers_then,
            compared.others_then,
            compared.carriers_ordered,
            compared.others_ordered,
            moves.set_count as newly_set_count,
            moves.changed_count,
            moves.lost_count,
            shifts.psi,
            used.uses_count,
            used.used_by,
            {{
                newcombe(
                    "compared.carriers_ordered",
                    "compared.carriers_then",
                    "compared.others_ordered",
                    "compared.others_then",
                    "-",
                )
            }} as lift_low,
            {{
                newcombe(
                    "compared.carriers_ordered",
                    "compared.carriers_then",
                    "compared.others_ordered",
                    "compared.others_then",
                    "+",
                )
            }} as lift_high
        from coverage
        cross join all_tags
        left join carried on coverage.tag = carried.tag
        left join compared on coverage.tag = compared.tag
        left join moves on coverage.tag = moves.tag
        left join shifts on coverage.tag = shifts.tag
        left join used on coverage.tag = used.tag
    ),

    judged as (select *, coalesce(compared_with_date < {{ as_of() }}, false) as is_compared from measured),

    final as (
        select
            cast(tag as {{ dbt.type_string() }}) as tag,
            cast({{ as_of() }} as date) as as_of_date,
            cast(users_count as bigint) as users_count,
            cast(set_count as bigint) as set_count,
            cast(cast(set_count as double) / nullif(users_count, 0) as double) as coverage_rate,
            cast(
                cast(users_count - not_evaluable_count as double) / nullif(users_count, 0) as double
            ) as evaluable_rate,
            cast(coalesce(values_count, 0) as bigint) as values_count,
            cast(round(tags_per_carrier, 6) as double) as tags_per_carrier,
            cast(cast(tags_count as double) / nullif(users_count, 0) as double) as tags_per_user,
            cast(cast(fresh_count as double) / nullif(set_count, 0) as double) as fresh_rate,
            cast(case when is_compared then compared_with_date end as date) as compared_with_date,
            cast(case when is_compared then coalesce(newly_set_count, 0) end as bigint) as newly_set_count,
            cast(case when is_compared then coalesce(changed_count, 0) end as bigint) as changed_count,
            cast(case when is_compared then coalesce(lost_count, 0) end as bigint) as lost_count,
            cast(
                case
                    when is_compared
                    then
                        cast(coalesce(changed_count, 0) + coalesce(lost_count, 0) as double)
                        / nullif(carriers_then, 0)
                end as double
            ) as churn_rate,
            cast(case when is_compared then psi end as double) as psi,
            cast(case when is_compared then carriers_then end as bigint) as carriers_count,
            cast(case when is_compared then carriers_ordered end as bigint) as carriers_ordered_count,
            cast(case when is_compared then others_then end as bigint) as others_count,
            cast(case when is_compared then others_ordered end as bigint) as others_ordered_count,
            cast(
                case
                    when is_compared
                    then
                        cast(carriers_ordered as double) / nullif(carriers_then, 0)
                        - cast(others_ordered as double) / nullif(others_then, 0)
                end as double
            ) as lift,
            cast(case when is_compared then lift_low end as double) as lift_low,
            cast(case when is_compared then lift_high end as double) as lift_high,
            cast(
                case
                    when not is_compared or least(carriers_then, others_then) < 30
                    then 'too_few'
                    when lift_low > 0
                    then 'more'
                    when lift_high < 0
                    then 'less'
                    else 'no_difference'
                end as {{ dbt.type_string() }}
            ) as conversion,
            cast(coalesce(uses_count, 0) as bigint) as uses_count,
            cast(used_by as {{ dbt.type_string() }}) as used_by,
            cast(
                case
                    when set_count = 0
                    then 'nobody'
                    when is_compared and psi >= 0.25
                    then 'shifted'
                    when uses_count is null
                    then 'unused'
                    when set_count = users_count and values_count = 1
                    then 'everybody'
                    else 'fine'
                end as {{ dbt.type_string() }}
            ) as finding
        from judged
    )

select *
from final
