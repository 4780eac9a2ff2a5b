"""Models that follow how tags move and how many users have them."""

from __future__ import annotations

from collections.abc import Sequence

from orchestration.specs.generated import model_header
from orchestration.specs.predicates import literal
from orchestration.specs.tag_rules import (
    NAMES,
    by_date_config,
    evaluated,
    expires_sql,
    kept_pivot,
    kept_tags,
    known_column,
    set_value,
    stacked_sql,
    value_column,
)
from orchestration.specs.tags import Tag

# A project without tags keeps its marts, empty.
_NO_TAGS_COUNTED = """        select '' as tag, 0 as users_count, 0 as known_count
        from evaluated
        where false"""


_HISTORY_CONFIG = by_date_config(
    """        meta={
            "by_date": "as_of_date",
            "parts_of": "int_tags__judged",
            "parts_among": "changed_on = " ~ as_of(),
        },\n"""
)


def history_sql(tags: Sequence[Tag]) -> str:
    """Model user_tag_history: one row per user, tag and day on which the tag was set, changed, cleared or expired.

    Two neighbouring days stand side by side, one row per user whose version differs or for whom something is kept on one of
    them; only rows in which a tag moved are written.
    """
    keeps = kept_tags(tags)
    shown = ",\n            ".join(
        [
            "moved_users.user_id",
            *(
                f"coalesce(versions.{value_column(tag.code)}, kept.{value_column(tag.code)}) as {value_column(tag.code)}"
                if tag in keeps
                else f"versions.{value_column(tag.code)}"
                for tag in tags
            ),
            *(f"kept.kept__{tag.code}" for tag in keeps),
        ]
    )

    def side(day: str) -> str:
        return f"""select
            {shown}
        from moved_users
        inner join days on moved_users.user_id = days.user_id and days.as_of_date = {day}
        inner join versions on days.user_id = versions.user_id and days.version = versions.version
        left join kept on moved_users.user_id = kept.user_id and kept.as_of_date = {day}"""

    rows, selected = [], ""
    for tag in tags:
        code, column = tag.code, value_column(tag.code)
        expired = "false"
        if tag.spec.interest is not None:
            expired = f"coalesce(today.{known_column(code)}, false)"
        elif tag.is_observed and tag.spec.validity_days is not None:
            expired = f"coalesce(today.{known_column(code)}, false) and today.{column} is null"
        elif tag.has_expiry:
            expired = f"coalesce({expires_sql(tag, 'today')} <= {{{{ as_of() }}}}, false)"
        kept = f"kept__{code}" if tag.spec.empty_result == "keep" else "cast(null as date)"
        selected += (
            f",\n            earlier.{column} as old__{code}, later.{column} as new__{code}, "
            f"coalesce(today.{known_column(code)}, false) as {known_column(code)}, {expired} as expired__{code}"
        )
        if tag.spec.empty_result == "keep":
            selected += f", later.{kept}"
        rows.append(
            (literal(code), f"old__{code}", f"new__{code}", known_column(code), f"expired__{code}", kept)
        )
    sides = stacked_sql(
        "pairs",
        ("user_id", "is_user"),
        ("tag", "old_value", "new_value", "is_known", "has_expired", "kept_on"),
        rows,
    )
    moves = " or ".join(
        f"earlier.{value_column(tag.code)} is distinct from later.{value_column(tag.code)}" for tag in tags
    )
    return (
        _HISTORY_CONFIG
        + model_header("dbt_project/specs/tags/")
        + f"""{{% set before = add_days(as_of(), -1) %}}
with
    -- Only a day inside the window that every run fills is looked at, and only where there is one before it.
    days as (
        select *
        from {{{{ ref('int_tags__user_days') }}}}
        where
            as_of_date in ({{{{ as_of() }}}}, {{{{ before }}}})
            and {{{{ var("history_days") }}}} > 1
            and exists (select 1 from {{{{ ref('int_tags__user_days') }}}} where as_of_date = {{{{ before }}}})
            and {{{{ in_part("user_id") }}}}
    ),

    kept as (
        select
            user_id,
            as_of_date{kept_pivot(keeps)}
        from {{{{ ref('int_tags__kept') }}}}
        where as_of_date in ({{{{ as_of() }}}}, {{{{ before }}}}) and {{{{ in_part("user_id") }}}}
        group by user_id, as_of_date
    ),

    later_days as (select user_id, version from days where as_of_date = {{{{ as_of() }}}}),

    earlier_days as (select user_id, version from days where as_of_date = {{{{ before }}}}),

    moved_users as (
        select coalesce(later_days.user_id, earlier_days.user_id) as user_id
        from later_days
        full outer join earlier_days on later_days.user_id = earlier_days.user_id
        where later_days.version is distinct from earlier_days.version
        union
        select user_id
        from (
            -- Kept on one of the two days only.
            select user_id
            from {{{{ ref('int_tags__kept') }}}}
            where as_of_date in ({{{{ as_of() }}}}, {{{{ before }}}}) and {{{{ in_part("user_id") }}}}
            group by user_id, tag, value
            having count(*) = 1
        ) as kept_once
    ),

    versions as (
        select * from {{{{ ref('int_tags__versions') }}}} where user_id in (select user_id from moved_users)
    ),

    today as (
        select * from {{{{ ref('int_tags__evaluated') }}}} where user_id in (select user_id from moved_users)
    ),

    later as (
        {side("{{ as_of() }}")}
    ),

    earlier as (
        {side("{{ before }}")}
    ),

    pairs as (
        select
            coalesce(later.user_id, earlier.user_id) as user_id,
            today.user_id is not null as is_user{selected}
        from later
        full outer join earlier on later.user_id = earlier.user_id
        left join today on later.user_id = today.user_id
        where {moves or "false"}
    ),

    sides as (
{sides}
    ),

    moved as (select * from sides where old_value is distinct from new_value),

    final as (
        select
            cast(user_id as {{{{ dbt.type_string() }}}}) as user_id,
            cast(tag as {{{{ dbt.type_string() }}}}) as tag,
            cast({{{{ as_of() }}}} as date) as as_of_date,
            cast(
                case
                    when old_value is null
                    then 'set'
                    when new_value is not null
                    then 'changed'
                    when has_expired
                    then 'expired'
                    else 'cleared'
                end as {{{{ dbt.type_string() }}}}
            ) as change,
            cast(old_value as {{{{ dbt.type_string() }}}}) as previous_value,
            cast(new_value as {{{{ dbt.type_string() }}}}) as value,
            cast(
                case
                    when kept_on is not null
                    then 'kept'
                    when old_value is null
                    then 'rule_holds'
                    when new_value is not null
                    then 'other_value'
                    when not is_user
                    then 'user_gone'
                    when has_expired
                    then 'not_confirmed'
                    when not is_known
                    then 'no_data'
                    else 'rule_no_longer_holds'
                end as {{{{ dbt.type_string() }}}}
            ) as reason
        from moved
    )

select *
from final
"""
    )


def coverage_sql(tags: Sequence[Tag]) -> str:
    """Model tag_coverage: one row per active tag, users counted as set, not set, not evaluable.

    A tag that is set could be evaluated: how many have it is counted already (int_tags__day_counts and what is kept).
    """
    parts, counts = [], ["count(*) as users_count"]
    for tag in tags:
        code, known = tag.code, known_column(tag.code)
        always = tag.spec.empty_result != "keep" and evaluated(tag, NAMES)[1] == "true"
        if not always:
            counts.append(f"count(case when {known} then 1 end) as {known}")
        parts.append(
            f"        select {literal(code)} as tag, users_count, {'users_count' if always else known} as known_count\n        from counts"
        )
    listed = ",\n            ".join(counts)
    union = "\n        union all\n".join(parts or [_NO_TAGS_COUNTED])
    return (
        model_header("dbt_project/specs/tags/")
        + f"""with
    evaluated as (select * from {{{{ ref('int_tags__evaluated') }}}}),

    counts as (
        select
            {listed}
        from evaluated
    ),

    counted as (
{union}
    ),

    steps as (
        select tag, users_count as set_count, cast(null as date) as kept_from_date
        from {{{{ ref('int_tags__day_counts') }}}}
        where as_of_date = {{{{ as_of() }}}} and value is not null
        union all
        select tag, 1 as set_count, kept_from_date
        from {{{{ ref('int_tags__kept') }}}}
        where as_of_date = {{{{ as_of() }}}}
    ),

    set_tags as (
        select tag, sum(set_count) as set_count, max(kept_from_date) as kept_from_date
        from steps
        group by tag
    ),

    final as (
        select
            cast(counted.tag as {{{{ dbt.type_string() }}}}) as tag,
            {{{{ as_of() }}}} as as_of_date,
            cast(counted.users_count as bigint) as users_count,
            cast(coalesce(set_tags.set_count, 0) as bigint) as set_count,
            cast(counted.known_count - coalesce(set_tags.set_count, 0) as bigint) as not_set_count,
            cast(counted.users_count - counted.known_count as bigint) as not_evaluable_count,
            cast(set_tags.kept_from_date as date) as kept_from_date
        from counted
        left join set_tags on counted.tag = set_tags.tag
    )

select *
from final
"""
    )


def value_counts_sql(tags: Sequence[Tag]) -> str:
    """Model int_tags__value_counts: users by tag and value on as_of and on the day it is compared with."""
    keeps = kept_tags(tags)
    listed = "".join(
        ",\n            "
        + (
            f"coalesce(versions.{value_column(tag.code)}, kept.{value_column(tag.code)}) as {value_column(tag.code)}"
            if tag in keeps
            else f"versions.{value_column(tag.code)}"
        )
        for tag in tags
    )
    parts = [
        f"        select {literal(tag.code)} as tag, as_of_date, {value_column(tag.code)} as value, count(*) as ordered_count\n"
        f"        from orderers\n        group by as_of_date, {value_column(tag.code)}"
        for tag in tags
    ] or ["        select '' as tag, as_of_date, '' as value, 0 as ordered_count from orderers where false"]
    union = "\n        union all\n".join(parts)
    return (
        model_header("dbt_project/specs/tags/")
        + f"""with
    user_days as (select * from {{{{ ref('int_tags__user_days') }}}}),

    day_counts as (select * from {{{{ ref('int_tags__day_counts') }}}}),

    all_kept as (select * from {{{{ ref('int_tags__kept') }}}}),

    -- Days back from as_of without a gap, inside the window that every run fills.
    numbered as (
        select as_of_date, row_number() over (order by as_of_date desc nulls last) as day_number
        from (
            select distinct as_of_date
            from user_days
            where
                as_of_date between {{{{ add_days(as_of(), 1 - var("history_days")) }}}} and {{{{ as_of() }}}}
                and as_of_date >= {{{{ add_days(as_of(), -30) }}}}
        ) as held
    ),

    compared_with as (
        select coalesce(min(as_of_date), {{{{ as_of() }}}}) as first_day
        from numbered
        where {{{{ days_between("as_of_date", as_of()) }}}} = day_number - 1
    ),

    two_days as (
        select {{{{ as_of() }}}} as as_of_date
        union
        select first_day from compared_with
    ),

    kept_counts as (
        select tag, as_of_date, value, count(*) as users_count
        from all_kept
        where as_of_date in (select as_of_date from two_days)
        group by tag, as_of_date, value
    ),

    -- Who has a value that was kept is one less without any.
    counted as (
        select tag, as_of_date, value, sum(users_count) as users_count
        from (
            select tag, as_of_date, value, users_count
            from day_counts
            where as_of_date in (select as_of_date from two_days)
            union all
            select tag, as_of_date, value, users_count
            from kept_counts
            union all
            select tag, as_of_date, null as value, -users_count as users_count
            from kept_counts
        ) as steps
        group by tag, as_of_date, value
        having sum(users_count) > 0
    ),

    -- Only users who ordered after one of the two days are looked up.
    ordered as (
        select user_wide.user_id, two_days.as_of_date
        from {{{{ ref('user_wide') }}}} as user_wide
        inner join two_days on user_wide.last_order_date > two_days.as_of_date
    ),

    kept as (
        select
            user_id,
            as_of_date{kept_pivot(keeps)}
        from all_kept
        where as_of_date in (select as_of_date from two_days)
        group by user_id, as_of_date
    ),

    versions as (
        select * from {{{{ ref('int_tags__versions') }}}} where user_id in (select user_id from ordered)
    ),

    orderers as (
        select
            days.as_of_date{listed}
        from ordered
        inner join user_days as days on ordered.user_id = days.user_id and ordered.as_of_date = days.as_of_date
        inner join versions on days.user_id = versions.user_id and days.version = versions.version
        left join kept on days.user_id = kept.user_id and days.as_of_date = kept.as_of_date
    ),

    ordered_counts as (
{union}
    ),

    final as (
        select
            cast(counted.tag as {{{{ dbt.type_string() }}}}) as tag,
            counted.as_of_date,
            cast(counted.value as {{{{ dbt.type_string() }}}}) as value,
            cast(counted.users_count as bigint) as users_count,
            cast(coalesce(ordered_counts.ordered_count, 0) as bigint) as ordered_count,
            compared_with.first_day as compared_with_date
        from counted
        cross join compared_with
        left join
            ordered_counts
            on counted.tag = ordered_counts.tag
            and counted.as_of_date = ordered_counts.as_of_date
            and counted.value is not distinct from ordered_counts.value
    )

select *
from final
"""
    )


def askable_sql(tags: Sequence[Tag]) -> str:
    """Model int_tags__askable: what is known of users about the tags that one can ask for."""
    asked = [tag for tag in tags if tag.spec.ask is not None]
    parts = [
        f"        select user_id, {literal(tag.code)} as tag, {set_value(tag, 'evaluated')} as value, "
        f"{known_column(tag.code)} as is_known\n        from evaluated"
        for tag in asked
    ] or ["        select user_id, '' as tag, '' as value, false as is_known from evaluated where false"]
    union = "\n        union all\n".join(parts)
    return (
        '{{ config(materialized="view") }}\n'
        + model_header("dbt_project/specs/tags/")
        + f"""with
    evaluated as (select * from {{{{ ref('int_tags__evaluated') }}}}),

    final as (
{union}
    )

select *
from final
"""
    )
