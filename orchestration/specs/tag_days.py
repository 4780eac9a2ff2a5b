"""The days of tags: which version of a user a day shows, how many users show a value, what stands in for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.generated import model_header
from orchestration.specs.predicates import literal
from orchestration.specs.tag_rules import (
    UNTIL_EXPIRED,
    by_date_config,
    expires_sql,
    kept_pivot,
    kept_tags,
    known_column,
    named_facts,
    set_value,
    shown_columns,
    stacked_sql,
    value_column,
)
from orchestration.specs.tags import Tag

# Whether the users of whom anything changed since a day that is held are known.
_GOES_ON = """{% set forward = (
    holds_days()
    and has_gone_forward("int_tags__judged")
    and has_rows("select 1 as one from " ~ ref("int_tags__user_days") ~ " where as_of_date = " ~ forward_from())
) %}
"""


# The counts of the day gone on from; those of as_of itself are being replaced.
_COUNTS_GO_ON = """{% set forward = (
    forward
    and has_rows(
        "select 1 as one from "
        ~ this
        ~ " where as_of_date = "
        ~ forward_from()
        ~ " and as_of_date < "
        ~ as_of()
    )
) %}
"""


def user_days_sql() -> str:
    """Model int_tags__user_days: which row of int_tags__versions shows a user's tags on a business day."""
    return (
        by_date_config(UNTIL_EXPIRED)
        + model_header("dbt_project/specs/tags/")
        + """with
    judged as (select * from {{ ref('int_tags__judged') }}),

    final as (select user_id, cast({{ as_of() }} as date) as as_of_date, facts_hash as version from judged)

select *
from final
"""
    )


_VERSIONS_CONFIG = """{{
    config(
        materialized="by_date",
        incremental_strategy="append",
        post_hook="delete from {{ this }} where version not in (select version from {{ ref('int_tags__user_days') }})",
    )
}}
"""


def versions_sql(tags: Sequence[Tag]) -> str:
    """Model int_tags__versions: the values behind int_tags__user_days, as long as a day shows them."""
    body = ",\n            ".join(
        ["user_id", "facts_hash as version", *(f"{sql} as {name}" for name, sql in shown_columns(tags))]
    )
    return (
        _VERSIONS_CONFIG
        + model_header("dbt_project/specs/tags/")
        + "-- depends_on: {{ ref('int_tags__user_days') }}\n"
        + _GOES_ON
        + f"""with
    judged as (
        select *
        from {{{{ ref('int_tags__judged') }}}} as judged
        where
            true
            {{% if forward %}} and changed_on > {{{{ forward_from() }}}}{{% endif %}}
            {{% if holds_days() %}}
            and not exists (
                select 1
                from {{{{ this }}}} as held
                where held.user_id = judged.user_id and held.version = judged.facts_hash
            )
            {{% endif %}}
    ),

    final as (
        select
            {body}
        from judged
    )

select *
from final
"""
    )


def day_counts_sql(tags: Sequence[Tag]) -> str:
    """Model int_tags__day_counts: how many users show a value on a day; going forward, only who moved is counted."""
    shown = ("tag", "value")
    moved = stacked_sql(
        "sides", ("step",), shown, [(literal(tag.code), value_column(tag.code)) for tag in tags]
    )
    found = stacked_sql("judged", (), shown, [(literal(tag.code), set_value(tag, "judged")) for tag in tags])
    columns = ", ".join(
        ["user_id", *(f"{set_value(tag, 'judged')} as {value_column(tag.code)}" for tag in tags)]
    )
    held = ", ".join(["versions.user_id", *(f"versions.{value_column(tag.code)}" for tag in tags)])
    return (
        by_date_config(UNTIL_EXPIRED)
        + model_header("dbt_project/specs/tags/")
        + "-- depends_on: {{ ref('int_tags__judged') }}, {{ ref('int_tags__user_days') }}, {{ ref('int_tags__versions') }}\n"
        + _GOES_ON
        + _COUNTS_GO_ON
        + f"""with
    {{% if forward %}}
    judged as (select * from {{{{ ref('int_tags__judged') }}}} where changed_on > {{{{ forward_from() }}}}),

    -- Who moved loses the values of the day held and gets those of today.
    same as (select user_id from {{{{ ref('int_tags__judged') }}}} where changed_on <= {{{{ forward_from() }}}}),

    before as (
        select user_id, version
        from {{{{ ref('int_tags__user_days') }}}} as held
        where
            as_of_date = {{{{ forward_from() }}}}
            and not exists (select 1 from same where same.user_id = held.user_id)
    ),

    versions as (select * from {{{{ ref('int_tags__versions') }}}}),

    sides as (
        select {columns}, 1 as step
        from judged
        union all
        select {held}, -1 as step
        from before
        inner join versions on before.user_id = versions.user_id and before.version = versions.version
    ),

    moved as (
{moved}
    ),

    counted as (
        select tag, value, users_count
        from {{{{ this }}}}
        where as_of_date = {{{{ forward_from() }}}}
        union all
        select tag, value, step as users_count
        from moved
    ),
    {{% else %}}
    judged as (select * from {{{{ ref('int_tags__judged') }}}}),

    found as (
{found}
    ),

    counted as (select tag, value, 1 as users_count from found),
    {{% endif %}}

    final as (
        select
            cast(tag as {{{{ dbt.type_string() }}}}) as tag,
            cast(value as {{{{ dbt.type_string() }}}}) as value,
            cast({{{{ as_of() }}}} as date) as as_of_date,
            cast(sum(users_count) as bigint) as users_count
        from counted
        group by tag, value
        having sum(users_count) > 0
    )

select *
from final
"""
    )


_NOTHING_KEPT = """        select user_id, '' as tag, '' as value, {{ as_of() }} as kept_from_date, {{ as_of() }} as expires_on
        from judged
        where false"""


def kept_sql(tags: Sequence[Tag]) -> str:
    """Model int_tags__kept: values that stand in on a day on which the rule of their tag found nobody."""
    keeps = kept_tags(tags)
    parts = [
        f"""        select
            days.user_id,
            last_days.tag,
            versions.{value_column(tag.code)} as value,
            last_days.kept_from_date,
            versions.until__{tag.code} as expires_on
        from last_days
        inner join days on last_days.kept_from_date = days.as_of_date
        inner join versions on days.user_id = versions.user_id and days.version = versions.version
        where
            last_days.tag = {literal(tag.code)}
            and versions.{value_column(tag.code)} is not null
            and coalesce({{{{ as_of() }}}} < versions.until__{tag.code}, true)"""
        for tag in keeps
    ] or [_NOTHING_KEPT]
    union = "\n        union all\n".join(parts)
    listed = ", ".join(literal(tag.code) for tag in keeps) or "''"
    return (
        by_date_config(UNTIL_EXPIRED)
        + model_header("dbt_project/specs/tags/")
        + f"""with
    judged as (select * from {{{{ ref('int_tags__judged') }}}}),

    counts as (select * from {{{{ ref('int_tags__day_counts') }}}} where tag in ({listed})),

    -- The last day inside the window that every run fills on which a rule found somebody, if that is not today.
    last_days as (
        select tag, max(as_of_date) as kept_from_date
        from counts
        where
            value is not null
            and as_of_date between {{{{ add_days(as_of(), 1 - var("history_days")) }}}} and {{{{ as_of() }}}}
        group by tag
        having max(as_of_date) < {{{{ as_of() }}}}
    ),

    days as (
        select *
        from {{{{ ref('int_tags__user_days') }}}}
        where as_of_date in (select kept_from_date from last_days)
    ),

    versions as (
        select * from {{{{ ref('int_tags__versions') }}}} where user_id in (select user_id from days)
    ),

    kept as (
{union}
    ),

    final as (
        select
            kept.user_id,
            cast({{{{ as_of() }}}} as date) as as_of_date,
            cast(kept.tag as {{{{ dbt.type_string() }}}}) as tag,
            cast(kept.value as {{{{ dbt.type_string() }}}}) as value,
            cast(kept.kept_from_date as date) as kept_from_date,
            cast(kept.expires_on as date) as expires_on
        from kept
        inner join judged on kept.user_id = judged.user_id
    )

select *
from final
"""
    )


def evaluated_sql(tags: Sequence[Tag], wide: Mapping[str, Column]) -> str:
    """Model int_tags__evaluated: int_tags__judged with what is kept from an earlier day; what other models read."""
    keeps = kept_tags(tags)
    if not keeps:
        return (
            '{{ config(materialized="view") }}\n'
            + model_header("dbt_project/specs/tags/")
            + "-- depends_on: {{ ref('int_tags__kept') }}\n"
            "select *\nfrom {{ ref('int_tags__judged') }}\n"
        )
    columns = ["judged.user_id", "judged.changed_on"]
    for tag in tags:
        code, has = tag.code, dict(named_facts(tag))
        prefixes = [prefix for prefix in has if prefix not in ("confirmed", "expires")]
        if tag not in keeps:
            columns += [f"judged.{value_column(code)}", f"judged.{known_column(code)}"]
            columns += [f"judged.{prefix}__{code}" for prefix in has]
            continue
        is_kept, value = f"kept.kept__{code} is not null", f"kept.{value_column(code)}"
        if tag.type is ValueType.BOOLEAN:
            value = f"case when {value} = 'true' then true else judged.{value_column(code)} end"
        else:
            typed = (
                value
                if tag.type is ValueType.TEXT
                else f"cast({value} as {wide[tag.spec.column or ''].sql_type})"
            )
            value = f"coalesce(judged.{value_column(code)}, {typed})"
        confirmed = f"judged.confirmed__{code}" if "confirmed" in has else "cast(null as date)"
        columns += [
            f"{value} as {value_column(code)}",
            f"judged.{known_column(code)} or {is_kept} as {known_column(code)}",
            f"coalesce(kept.kept__{code}, {confirmed}) as confirmed__{code}",
            f"kept.kept__{code}",
        ]
        if tag.has_expiry:
            columns.append(
                f"case when {is_kept} then kept.until__{code} else {expires_sql(tag, 'judged')} end as expires__{code}"
            )
        columns += [f"judged.{prefix}__{code}" for prefix in prefixes]
    body = ",\n        ".join(columns)
    return (
        '{{ config(materialized="view") }}\n'
        + model_header("dbt_project/specs/tags/")
        + f"""with
    judged as (select * from {{{{ ref('int_tags__judged') }}}}),

    kept as (
        select
            user_id{kept_pivot(keeps)}
        from {{{{ ref('int_tags__kept') }}}}
        where as_of_date = {{{{ as_of() }}}}
        group by user_id
    ),

    final as (
        select
        {body}
        from judged
        left join kept on judged.user_id = kept.user_id
    )

select *
from final
"""
    )
