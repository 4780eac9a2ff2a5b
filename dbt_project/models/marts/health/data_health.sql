{%- set past = 7 * var("health_weeks") -%}
{#- Days, and batches, that are judged to say since when something has been unusual. -#}
{%- set judged_days = 14 -%}
{%- set judged_batches = 7 -%}
{%- set warn = var("health_warn_deviations") -%}
{%- set fail = var("health_fail_deviations") -%}
with
    days as (select * from {{ ref("int_health__days") }} where arrived_on <= {{ as_of() }}),
    rules as (select * from {{ ref("data_health_rules") }}),
    totals as (select * from days where column_name is null),
    tables as (
        select
            table_name,
            min(arrived_on) as first_arrived_on,
            max(case when rows_count > 0 then arrived_on end) as last_arrived_on,
            max(arrived_on) as last_read_on
        from totals
        group by table_name
        having sum(rows_count) > 0
    ),

    -- Freshness: days since the last arrival, against declared days or the table's own rhythm.
    arrival_days as (
        select
            table_name,
            {{
                days_between(
                    "lag(arrived_on) over (partition by table_name order by arrived_on asc nulls first)",
                    "arrived_on",
                )
            }} as gap_days,
            row_number() over (partition by table_name order by arrived_on desc nulls last) as nth_latest
        from totals
        where rows_count > 0
    ),
    rhythms as (
        select table_name, max(gap_days) as longest_gap_days
        from arrival_days
        where nth_latest <= 12
        group by table_name
        having count(gap_days) >= 4
    ),
    ages as (
        select
            tables.table_name,
            tables.last_arrived_on,
            {{ days_between("tables.last_arrived_on", as_of()) }} as age_days,
            coalesce(rules.warn_after_days, 2 * rhythms.longest_gap_days) as warn_after_days,
            coalesce(rules.fail_after_days, 4 * rhythms.longest_gap_days) as fail_after_days
        from tables
        left join rules on rules.table_name = tables.table_name
        left join rhythms on rhythms.table_name = tables.table_name
    ),
    freshness as (
        select
            table_name,
            'freshness' as check_name,
            cast(null as varchar) as column_name,
            case
                when age_days > fail_after_days
                then 'fail'
                when age_days > warn_after_days
                then 'warn'
                when coalesce(warn_after_days, fail_after_days) is null
                then 'not_enough_history'
                else 'ok'
            end as status,
            {{ as_of() }} as measured_on,
            age_days as measured,
            0 as expected_low,
            coalesce(warn_after_days, fail_after_days) as expected_high,
            {{ add_days("last_arrived_on", "(coalesce(warn_after_days, fail_after_days) + 1)") }}
            as since_date,
            'last arrived on '
            || cast(last_arrived_on as varchar)
            || ', '
            || {{ whole_number("age_days") }}
            || ' days before'
            || coalesce(
                '; up to '
                || {{ whole_number("coalesce(warn_after_days, fail_after_days)") }}
                || ' are expected',
                '; it has arrived on too few days to have a rhythm, and none is declared'
            ) as sentence
        from ages
    ),

    -- Volume: rows of a day against the same weekday of the weeks before.
    calendar as ({{ day_series(add_days(as_of(), 1 - judged_days - 2 * past), as_of()) }}),
    grid as (
        select
            tables.table_name,
            calendar.day,
            coalesce(totals.rows_count, 0) as rows_count,
            {{ count_root("coalesce(totals.rows_count, 0)") }} as root
        from tables
        inner join calendar on calendar.day >= tables.first_arrived_on
        left join totals on totals.table_name = tables.table_name and totals.arrived_on = calendar.day
    ),
    predicted as (
        select
            grid.table_name,
            grid.day,
            grid.rows_count,
            grid.root,
            percentile_cont(0.5) within group (order by weekdays.rows_count asc) as usual_rows,
            percentile_cont(0.5) within group (order by weekdays.root asc) as usual_root
        from grid
        inner join
            grid as weekdays
            on weekdays.table_name = grid.table_name
            and weekdays.day < grid.day
            and weekdays.day >= {{ add_days("grid.day", -past) }}
            and mod({{ days_between("weekdays.day", "grid.day") }}, 7) = 0
        where grid.day > {{ add_days(as_of(), -judged_days - past) }}
        group by grid.table_name, grid.day, grid.rows_count, grid.root
        having count(*) >= 4
    ),
    judged_volumes as (
        select
            predicted.table_name,
            predicted.day,
            predicted.rows_count,
            predicted.usual_rows,
            predicted.usual_root,
            count(before.day) as errors,
            {{
                error_spread(
                    "percentile_cont(0.5) within group (order by abs(before.root - before.usual_root) asc)",
                    "nullif(count(before.day), 0)",
                )
            }} as spread
        from predicted
        -- Days on which nothing was expected and nothing came say nothing about the spread.
        left join
            predicted as before
            on before.table_name = predicted.table_name
            and before.day < predicted.day
            and before.day >= {{ add_days("predicted.day", -past) }}
            and (before.rows_count > 0 or before.usual_rows > 0)
        where predicted.day > {{ add_days(as_of(), -judged_days) }}
        group by
            predicted.table_name,
            predicted.day,
            predicted.rows_count,
            predicted.usual_rows,
            predicted.usual_root
    ),
    largest as (
        select judged.table_name, judged.day, max(grid.rows_count) as most_rows
        from judged_volumes as judged
        inner join
            grid
            on grid.table_name = judged.table_name
            and grid.day < judged.day
            and grid.day >= {{ add_days("judged.day", -past) }}
        group by judged.table_name, judged.day
    ),
    -- Beside chance, a change has to matter: three tenths less or twice as much warn, seven tenths less or
    -- five times as much fail. On a weekday without arrivals the largest day is what may come.
    volume_bounds as (
        select
            judged.*,
            least({{ root_count("usual_root - " ~ warn ~ " * spread") }}, 0.7 * usual_rows) as warn_low,
            least({{ root_count("usual_root - " ~ fail ~ " * spread") }}, 0.3 * usual_rows) as fail_low,
            greatest(
                {{ root_count("usual_root + " ~ warn ~ " * spread") }},
                2 * usual_rows,
                case when usual_rows = 0 then largest.most_rows else 0 end
            ) as warn_high,
            greatest(
                {{ root_count("usual_root + " ~ fail ~ " * spread") }},
                5 * usual_rows,
                case when usual_rows = 0 then 2 * largest.most_rows else 0 end
            ) as fail_high
        from judged_volumes as judged
        inner join largest on largest.table_name = judged.table_name and largest.day = judged.day
        where judged.errors >= 4
    ),
    volume_statuses as (
        select
            *,
            case
                when rows_count < fail_low or rows_count > fail_high
                then 'fail'
                when rows_count < warn_low or rows_count > warn_high
                then 'warn'
                else 'ok'
            end as status
        from volume_bounds
    ),
    volume_runs as (
        select table_name, max(case when status = 'ok' then day end) as last_ok_on, min(day) as first_day
        from volume_statuses
        group by table_name
    ),
    volume as (
        select
            tables.table_name,
            'volume' as check_name,
            cast(null as varchar) as column_name,
            coalesce(today.status, 'not_enough_history') as status,
            {{ as_of() }} as measured_on,
            grid.rows_count as measured,
            today.warn_low as expected_low,
            today.warn_high as expected_high,
            coalesce({{ add_days("runs.last_ok_on", 1) }}, runs.first_day) as since_date,
            {{ whole_number("grid.rows_count") }}
            || ' rows arrived on '
            || cast({{ as_of() }} as varchar)
            || coalesce(
                '; '
                || {{ whole_number("today.warn_low") }}
                || ' to '
                || {{ whole_number("today.warn_high") }}
                || ' are usual on this weekday',
                '; too few earlier days to say what is usual'
            ) as sentence
        from tables
        inner join grid on grid.table_name = tables.table_name and grid.day = {{ as_of() }}
        left join
            volume_statuses as today on today.table_name = tables.table_name and today.day = {{ as_of() }}
        left join volume_runs as runs on runs.table_name = tables.table_name
    ),

    -- Shares: empty values of each column, and refused records, in the latest batch against earlier ones.
    batches as (
        select
            'null_share' as check_name,
            table_name,
            column_name,
            arrived_on,
            rows_count as whole,
            null_count as part
        from days
        where column_name is not null
        union all
        select
            'rejects' as check_name,
            table_name,
            '' as column_name,
            arrived_on,
            rows_count + rejected_count as whole,
            rejected_count as part
        from totals
        where arrived_on > {{ add_days(as_of(), -judged_days - past) }}
    ),
    shares as (
        select
            *,
            cast(part as double) / whole as share,
            row_number() over (
                partition by check_name, table_name, column_name order by arrived_on desc nulls last
            ) as nth_latest
        from batches
        where whole >= {{ var("health_least_rows") }}
    ),
    usual_shares as (
        select
            shares.check_name,
            shares.table_name,
            shares.column_name,
            shares.arrived_on,
            shares.whole,
            shares.share,
            percentile_cont(0.5) within group (order by earlier.share asc) as usual_share,
            sum(earlier.whole) as earlier_whole,
            count(*) as errors
        from shares
        inner join
            shares as earlier
            on earlier.check_name = shares.check_name
            and earlier.table_name = shares.table_name
            and earlier.column_name = shares.column_name
            and earlier.arrived_on < shares.arrived_on
            and earlier.arrived_on >= {{ add_days("shares.arrived_on", -past) }}
        where shares.nth_latest <= {{ judged_batches }}
        group by
            shares.check_name,
            shares.table_name,
            shares.column_name,
            shares.arrived_on,
            shares.whole,
            shares.share
        having count(*) >= 4
    ),
    usual_angles as (
        select *, {{ share_angle("usual_share * earlier_whole", "earlier_whole") }} as usual_angle
        from usual_shares
    ),
    share_spreads as (
        select
            usual.check_name,
            usual.table_name,
            usual.column_name,
            usual.arrived_on,
            {{
                error_spread(
                    "percentile_cont(0.5) within group (order by abs("
                    ~ share_angle("earlier.part", "earlier.whole")
                    ~ " - usual.usual_angle) * 2 * sqrt(earlier.whole + 0.5) asc)",
                    "count(*)",
                )
            }} as spread
        from usual_angles as usual
        inner join
            shares as earlier
            on earlier.check_name = usual.check_name
            and earlier.table_name = usual.table_name
            and earlier.column_name = usual.column_name
            and earlier.arrived_on < usual.arrived_on
            and earlier.arrived_on >= {{ add_days("usual.arrived_on", -past) }}
        group by usual.check_name, usual.table_name, usual.column_name, usual.arrived_on
    ),
    -- Beside chance, ten points more empty or two points more refused warn, fifty or twenty more fail.
    share_bounds as (
        select
            usual.*,
            greatest(
                {{ angle_share("usual_angle + " ~ warn ~ " * spread / (2 * sqrt(whole + 0.5))") }},
                usual_share + case when usual.check_name = 'rejects' then 0.02 else 0.1 end
            ) as warn_high,
            greatest(
                {{ angle_share("usual_angle + " ~ fail ~ " * spread / (2 * sqrt(whole + 0.5))") }},
                usual_share + case when usual.check_name = 'rejects' then 0.2 else 0.5 end
            ) as fail_high
        from usual_angles as usual
        inner join
            share_spreads as spreads
            on spreads.check_name = usual.check_name
            and spreads.table_name = usual.table_name
            and spreads.column_name = usual.column_name
            and spreads.arrived_on = usual.arrived_on
    ),
    share_statuses as (
        select
            *,
            -- A column that was ever half empty cannot become half emptier; wholly empty is then a failure.
            case
                when share > fail_high or (share = 1 and share > warn_high)
                then 'fail'
                when share > warn_high
                then 'warn'
                else 'ok'
            end as status
        from share_bounds
    ),
    share_runs as (
        select
            check_name,
            table_name,
            column_name,
            max(case when status = 'ok' then arrived_on end) as last_ok_on
        from share_statuses
        group by check_name, table_name, column_name
    ),
    share_since as (
        select
            statuses.check_name,
            statuses.table_name,
            statuses.column_name,
            min(statuses.arrived_on) as since_date
        from share_statuses as statuses
        inner join
            share_runs as runs
            on runs.check_name = statuses.check_name
            and runs.table_name = statuses.table_name
            and runs.column_name = statuses.column_name
        where runs.last_ok_on is null or statuses.arrived_on > runs.last_ok_on
        group by statuses.check_name, statuses.table_name, statuses.column_name
    ),
    -- Only the latest batch of a table is judged; of its columns, the worst one speaks.
    ranked_shares as (
        select
            statuses.*,
            since.since_date,
            row_number() over (
                partition by statuses.check_name, statuses.table_name
                order by
                    case statuses.status when 'fail' then 0 when 'warn' then 1 else 2 end asc nulls last,
                    statuses.share - statuses.warn_high desc nulls last,
                    statuses.column_name asc nulls last
            ) as nth_worst,
            count(case when statuses.status <> 'ok' then 1 end) over (
                partition by statuses.check_name, statuses.table_name
            ) as unusual_columns,
            count(*) over (partition by statuses.check_name, statuses.table_name) as judged_columns
        from share_statuses as statuses
        inner join tables on tables.table_name = statuses.table_name
        left join
            share_since as since
            on since.check_name = statuses.check_name
            and since.table_name = statuses.table_name
            and since.column_name = statuses.column_name
        where
            statuses.arrived_on = case
                when statuses.check_name = 'rejects' then tables.last_read_on else tables.last_arrived_on
            end
    ),
    share_checks as (select * from (values ('null_share'), ('rejects')) as share_checks(check_name)),
    share_results as (
        select
            tables.table_name,
            share_checks.check_name,
            case when worst.status <> 'ok' then nullif(worst.column_name, '') end as column_name,
            coalesce(worst.status, 'not_enough_history') as status,
            coalesce(
                worst.arrived_on,
                case
                    when share_checks.check_name = 'rejects'
                    then tables.last_read_on
                    else tables.last_arrived_on
                end
            ) as measured_on,
            worst.share as measured,
            0 as expected_low,
            worst.warn_high as expected_high,
            worst.since_date,
            case
                when worst.status is null
                then 'too few earlier batches, or rows, to say what is usual'
                when worst.check_name = 'rejects'
                then
                    {{ in_percent("worst.share") }}
                    || ' of '
                    || {{ whole_number("worst.whole") }}
                    || ' records of '
                    || cast(worst.arrived_on as varchar)
                    || ' were refused; up to '
                    || {{ in_percent("worst.warn_high") }}
                    || ' are usual'
                when worst.status = 'ok'
                then
                    'none of '
                    || {{ whole_number("worst.judged_columns") }}
                    || ' columns is emptier than usual on '
                    || cast(worst.arrived_on as varchar)
                else
                    worst.column_name
                    || ' is empty in '
                    || {{ in_percent("worst.share") }}
                    || ' of '
                    || {{ whole_number("worst.whole") }}
                    || ' rows of '
                    || cast(worst.arrived_on as varchar)
                    || '; up to '
                    || {{ in_percent("worst.warn_high") }}
                    || ' are usual'
                    || case
                        when worst.unusual_columns > 1
                        then
                            '; '
                            || {{ whole_number("worst.unusual_columns - 1") }}
                            || ' more columns are emptier than usual'
                        else ''
                    end
            end as sentence
        from tables
        cross join share_checks
        left join
            ranked_shares as worst
            on worst.check_name = share_checks.check_name
            and worst.table_name = tables.table_name
            and worst.nth_worst = 1
    ),

    -- What staff set under a name that no spec declares by_hand does nothing; the nearest name helps to
    -- repair it.
    declared_tags as (select tag from {{ ref("catalog_tag_sources") }} where kind = 'by_hand'),
    unheard_tags as (
        select manual_tags.tag, count(*) as rows_count, min(manual_tags._first_arrived_on) as first_arrived_on
        from {{ ref("stg_raw__manual_tags") }} as manual_tags
        left join declared_tags on declared_tags.tag = manual_tags.tag
        where declared_tags.tag is null
        group by manual_tags.tag
    ),
    nearest_tags as (
        select
            unheard_tags.tag,
            unheard_tags.rows_count,
            unheard_tags.first_arrived_on,
            declared_tags.tag as nearest_tag,
            levenshtein(lower(trim(unheard_tags.tag)), declared_tags.tag) as distance,
            row_number() over (
                partition by unheard_tags.tag
                order by
                    levenshtein(lower(trim(unheard_tags.tag)), declared_tags.tag) asc nulls last,
                    declared_tags.tag asc nulls last
            ) as nth_nearest
        from unheard_tags
        left join declared_tags on true
    ),
    ranked_tags as (
        select
            tag,
            rows_count,
            first_arrived_on,
            substr(tag, 1, 40)
            || ' ('
            || {{ whole_number("rows_count") }}
            || case
                when distance <= greatest(2, length(tag) / 3)
                then ', did you mean ' || nearest_tag || '?'
                else ''
            end
            || ')' as words,
            row_number() over (order by rows_count desc nulls last, tag asc nulls last) as nth_most
        from nearest_tags
        where nth_nearest = 1
    ),
    unknown_tags as (
        select
            tables.table_name,
            'unknown_tags' as check_name,
            cast(null as varchar) as column_name,
            case when count(ranked_tags.tag) > 0 then 'warn' else 'ok' end as status,
            {{ as_of() }} as measured_on,
            coalesce(sum(ranked_tags.rows_count), 0) as measured,
            0 as expected_low,
            0 as expected_high,
            min(ranked_tags.first_arrived_on) as since_date,
            case
                when count(ranked_tags.tag) = 0
                then 'every tag in it is declared by_hand'
                else
                    {{ whole_number("sum(ranked_tags.rows_count)") }}
                    || ' rows name '
                    || {{ whole_number("count(ranked_tags.tag)") }}
                    || ' tags that no spec declares by_hand, so they do nothing: '
                    || string_agg(
                        case when ranked_tags.nth_most <= 5 then ranked_tags.words end,
                        ', '
                        order by ranked_tags.nth_most asc nulls last
                    )
                    || case when count(ranked_tags.tag) > 5 then ', …' else '' end
                    || '; correct the rows or declare the tags in dbt_project/specs/tags'
            end as sentence
        from tables
        left join ranked_tags on true
        where tables.table_name = 'manual_tags'
        group by tables.table_name
    ),

    checks as (
        select *
        from freshness
        union all
        select
            table_name,
            check_name,
            column_name,
            status,
            measured_on,
            measured,
            expected_low,
            expected_high,
            since_date,
            sentence
        from unknown_tags
        union all
        select *
        from volume
        union all
        select
            table_name,
            check_name,
            column_name,
            status,
            measured_on,
            measured,
            expected_low,
            expected_high,
            since_date,
            sentence
        from share_results
    ),
    final as (
        select
            cast(checks.table_name as varchar) as table_name,
            cast(checks.check_name as varchar) as check_name,
            cast({{ as_of() }} as date) as as_of_date,
            cast(checks.status as varchar) as status,
            cast(
                case when checks.status in ('warn', 'fail') then checks.since_date end as date
            ) as since_date,
            cast(checks.table_name || ': ' || checks.sentence || '.' as varchar) as sentence,
            cast(checks.column_name as varchar) as column_name,
            cast(checks.measured_on as date) as measured_on,
            cast(checks.measured as double) as measured,
            cast(
                case when checks.status <> 'not_enough_history' then checks.expected_low end as double
            ) as expected_low,
            cast(
                case when checks.status <> 'not_enough_history' then checks.expected_high end as double
            ) as expected_high,
            cast(coalesce(rules.is_blocking, false) as boolean) as is_blocking
        from checks
        left join rules on rules.table_name = checks.table_name
    )
select *
from final
