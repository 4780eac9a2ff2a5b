"""Active tags as SQL and the tag catalogue: what `jingxi compile` writes from dbt_project/specs/tags."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from orchestration.specs.catalog import Column, Segment, ValueType
from orchestration.specs.documents import Problem
from orchestration.specs.generated import DBT_NAMES, csv_text, model_header
from orchestration.specs.kinds import Kind, Project
from orchestration.specs.predicates import Names, literal, to_sql, to_sql_boolean
from orchestration.specs.rule_sql import Sources, UserNames
from orchestration.specs.tags import (
    CATEGORY_LABELS,
    FOLDER,
    CaseSpec,
    Tag,
    TagFamilySpec,
    ValueSpec,
    read_tags,
)


class TagNames(UserNames):
    """Names inside the statement that evaluates tags; `days` spells days and moments."""

    def __init__(self, days: Names) -> None:
        self.days = days

    def as_of(self, days: int) -> str:
        """The day that lies some days after as_of."""
        return self.days.as_of(days)

    def moment(self, days: int) -> str:
        """The moment at which that day begins."""
        return self.days.moment(days)

    def later(self, day: str, days: int) -> str:
        """The day some days after another one."""
        return self.days.later(day, days)


_NAMES = TagNames(DBT_NAMES)


def _jinja_text(sql: str) -> str:
    """SQL as a text inside a Jinja expression; macros called in it are called there."""
    return re.sub(r"\{\{ (.*?) \}\}", r'" ~ \1 ~ "', json.dumps(sql, ensure_ascii=False))


def _stacked_sql(
    relation: str, keep: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """Query that sets what `relation` says side by side one below the other: macro `stacked`, or nothing without rows."""
    if not rows:
        empty = ", ".join([*keep, *(f"null as {name}" for name in columns)])
        return f"        select {empty} from {relation} where false"
    names = ", ".join(json.dumps(name) for name in columns)
    kept = ", ".join(json.dumps(name) for name in keep)
    listed = ",\n".join(f"            [{', '.join(map(_jinja_text, row))}]" for row in rows)
    return f"""        {{{{ stacked("{relation}", [{kept}], [{names}], [
{listed},
        ]) }}}}"""


def value_column(code: str) -> str:
    """Column of int_tags__evaluated with a tag's value: typed, null when not set."""
    return f"tag__{code}"


def known_column(code: str) -> str:
    """Column of int_tags__evaluated that says whether a tag could be evaluated."""
    return f"known__{code}"


def _value_sql(tag: Tag, names: Names) -> str:
    """The tag's value before validity and missing data are looked at."""
    if tag.rule is not None:
        return to_sql_boolean(tag.rule, names)
    if tag.cases:
        branches = " ".join(f"when {to_sql(rule, names)} then {literal(value)}" for value, rule in tag.cases)
        return f"case {branches} end"
    source = names.column(tag.spec.column or "")
    if tag.values is None:
        return source
    return f"case when {source} in ({', '.join(literal(value) for value in tag.values)}) then {source} end"


def _known_sql(tag: Tag, names: Names) -> str:
    needed = sorted({*tag.spec.needs, *([tag.spec.column] if tag.spec.column else [])})
    return " and ".join(f"{names.column(name)} is not null" for name in needed) or "true"


def _still_valid_sql(tag: Tag, names: Names) -> str | None:
    if tag.spec.validity_days is None:
        return None
    confirmed = names.column(tag.spec.confirmed_by or "")
    return f"coalesce({names.as_of(0)} < {names.later(confirmed, tag.spec.validity_days)}, true)"


def evaluated(tag: Tag, names: Names) -> tuple[str, str]:
    """SQL of a tag's value (typed, null when not set) and of whether it could be evaluated."""
    if tag.is_observed:
        observed, is_known = names.column(f"value__{tag.code}"), names.column(f"seen__{tag.code}")
        if tag.type is ValueType.BOOLEAN:
            # A tag that nobody gave is not set: whether staff looked at the user is not asked.
            return f"coalesce({observed} <> 'false', false)", "true"
        return observed, "true" if tag.spec.by_hand else f"coalesce({is_known}, false)"
    known, valid, value = _known_sql(tag, names), _still_valid_sql(tag, names), _value_sql(tag, names)
    conditions = [condition for condition in (known if known != "true" else None, valid) if condition]
    if tag.type is ValueType.BOOLEAN:
        inner = " and ".join([value, *([valid] if valid else [])])
        value = f"case when {known} then {inner} end" if known != "true" else inner
    elif conditions:
        value = f"case when {' and '.join(conditions)} then {value} end"
    return value, known


# Companion of an observed tag in int_tags__judged → column of int_tags__observed.
_OBSERVED_COLUMNS = {
    "first": "first_on",
    "confirmed": "last_on",
    "expires": "expires_on",
    "evidence": "evidence_count",
    "activity": "last_activity",
}


# What int_tags__observed says of a tag that does not move by itself from one day to the next: all but an interest's weight.
_OBSERVED_FACTS = ("tag", "value", "is_set", *_OBSERVED_COLUMNS.values())


def _pivoted(tags: Sequence[Tag]) -> list[str]:
    """Columns of the pivot."""
    return [f"observed.{part}__{tag.code}" for tag in tags for part in ("value", "seen", *_OBSERVED_COLUMNS)]


def _row_hash(columns: Sequence[str]) -> str:
    return "{{ row_hash([" + ", ".join(f'"{column}"' for column in columns) + "]) }}"


_OBSERVED_HASH = f"sum(cast({_row_hash(_OBSERVED_FACTS)} as decimal(38, 0))) as observed_hash"


def _pivot_sql(tags: Sequence[Tag]) -> str:
    """CTE with one row per user: what int_tags__observed says of each tag, side by side."""
    columns = ["user_id", _OBSERVED_HASH]
    for tag in tags:
        code, holds = tag.code, f"tag = {literal(tag.code)} and is_set"
        value = "value"
        if tag.values is not None:
            value = f"case when value in ({', '.join(literal(v) for v in tag.values)}) then value end"
        columns.append(f"max(case when {holds} then {value} end) as value__{code}")
        columns.append(f"bool_or(tag = {literal(code)}) as seen__{code}")
        columns += [
            f"max(case when {holds} then {column} end) as {prefix}__{code}"
            for prefix, column in _OBSERVED_COLUMNS.items()
        ]
    body = ",\n            ".join(columns)
    return f"""    observed as (
        select
            {body}
        from {{{{ ref('int_tags__observed') }}}}
        where place = 1{_AMONG_CHANGED}
        group by user_id
    ),

"""


_JUDGED_CONFIG = """{{
    config(
        materialized="running", unique_key="user_id", meta={"replaced": "changed", "scratch": ["changed"]}
    )
}}
"""
# From one changed user in this many on, everything is built anew; so many users are asked.
_MOST, _ASKED = 3, 5000
_AMONG_CHANGED = "{% if forward %} and user_id in (select user_id from changed){% endif %}"


def judged_sql(tags: Sequence[Tag], segments: Mapping[str, Segment]) -> str:
    """Model int_tags__judged: every active tag for every user by today's facts.

    Going forward, one pass over the wide table finds the users for whom anything differs from the day held (facts_hash);
    only they are judged and written. A few users are asked before: where many of them changed, all may as well be judged.
    """
    sources = Sources.of((rule for tag in tags for rule in tag.rules), segments)
    observed = [tag for tag in tags if tag.is_observed]
    by_rule: list[str] = ["users.user_id"]
    by_observation: list[str] = []
    for tag in tags:
        value, known = evaluated(tag, _NAMES)
        columns = by_observation if tag.is_observed else by_rule
        columns.append(f"{value} as {value_column(tag.code)}")
        columns.append(f"{known} as {known_column(tag.code)}")
        columns += [f"users.{name} as {prefix}__{tag.code}" for prefix, name in _declared(tag)]
    if observed:
        by_rule.append("users.observed_hash")
    names = [column.rsplit(" as ", 1)[-1].removeprefix("users.") for column in by_rule]
    # What several tags say alike goes into the hash once.
    said = {column.rsplit(" as ", 1)[0]: name for column, name in zip(by_rule, names, strict=True)}
    hashed = [name for sql, name in said.items() if sql != "true"]
    # Other rules: another hash, though they may find the same.
    rules = hashlib.sha256("\n".join([*by_rule, _pivot_sql(observed), *map(str, _shown(tags))]).encode())
    salt = f"'{rules.hexdigest()[:16]}'"
    held = [name for name in names if name != "observed_hash"]
    held += [column.rsplit(" as ", 1)[-1] for column in by_observation]

    def users(extra: Sequence[str]) -> str:
        joined = ["user_wide.*", *sources.columns(), *extra]
        joins = [
            *sources.joins(),
            *(["left join observed on user_wide.user_id = observed.user_id"] if observed else []),
        ]
        if not joins:
            return "select * from user_wide"
        return (
            f"select\n            {', '.join(joined)}\n        from user_wide\n        "
            + "\n        ".join(joins)
        )

    observed_hash = (
        f"""    observed as (
        select user_id, {_OBSERVED_HASH}
        from {{{{ ref('int_tags__observed') }}}}
        where place = 1{{% if among == "a few" %}} and user_id in (select user_id from user_wide){{% endif %}}
        group by user_id
    ),
"""
        if observed
        else ""
    )
    found_hash = ["observed.observed_hash"] if observed else []
    rule_lines, all_lines = ",\n        ".join(by_rule), ",\n        ".join([*by_rule, *by_observation])
    return (
        model_header("dbt_project/specs/tags/")
        + _JUDGED_CONFIG
        + f"""{{% set forward = is_forward() %}}
{{% set found = {{}} %}}
{{% for among in ["a few", "all"] %}}
{{% set query %}}
with
    user_wide as (select * from {{{{ ref('user_wide') }}}}{{% if among == "a few" %}} limit {_ASKED}{{% endif %}}),
{sources.dbt_imports()}
{observed_hash}
    users as (
        {users(found_hash)}
    ),

    judged as (
        select
        {rule_lines}
        from users
    )

select user_id, {_row_hash([salt, *hashed])} as facts_hash
from judged
{{% endset %}}
{{% do found.update({{among: query}}) %}}
{{% endfor %}}
{{#- Every row is written once either way; finding the few that are not would be extra. -#}}
{{% set most_changed %}}
select 1 as one
from ({{{{ found["a few"] }}}}) as found
left join {{{{ this }}}} as held on found.user_id = held.user_id
having count(case when found.facts_hash is distinct from held.facts_hash then 1 end) * {_MOST} > count(*)
{{% endset %}}
{{% if forward and has_rows(most_changed) %}}
{{% do build_anew() %}}
{{% set forward = false %}}
{{% endif %}}
{{% set changed %}}
select coalesce(found.user_id, held.user_id) as user_id
from ({{{{ found["all"] }}}}) as found
full outer join {{{{ this }}}} as held on found.user_id = held.user_id
where found.facts_hash is distinct from held.facts_hash
{{% endset %}}
with
    {{% if forward %}}
    changed as ({{{{ counted_rows("changed", changed) }}}}),
    {{% endif %}}
    user_wide as (select * from {{{{ ref('user_wide') }}}} where true{_AMONG_CHANGED}),
{sources.dbt_imports()}
{_pivot_sql(observed) if observed else ""}    users as (
        {users([*found_hash, *_pivoted(observed)])}
    ),

    judged as (
        select
        {all_lines}
        from users
    ),

    final as (
        select user_id, {", ".join(held[1:]) or "1 as nothing"},
            {_row_hash([salt, *hashed])} as facts_hash,
            cast({{{{ as_of() }}}} as date) as changed_on
        from judged
    )

select *
from final
"""
    )


def _keeps(tags: Sequence[Tag]) -> list[Tag]:
    return [tag for tag in tags if tag.spec.empty_result == "keep"]


def _set_value(tag: Tag, table: str) -> str:
    """The value of a tag that is set, as text, else null: a tag of another kind tomorrow fits into the same column."""
    return _text_sql(tag, f"{table}.{value_column(tag.code)}")


def _expires_sql(tag: Tag, table: str = "") -> str:
    """The first day on which the tag no longer holds by itself; null = never."""
    at = f"{table}." if table else ""
    if tag.is_observed:
        return f"{at}expires__{tag.code}"
    if tag.spec.validity_days is None:
        return "cast(null as date)"
    return f"{{{{ add_days('{at}confirmed__{tag.code}', {tag.spec.validity_days}) }}}}"


def _by_date_config(extra: str) -> str:
    """One set of rows per business day, until the day is dropped."""
    return f"""{{{{
    config(
        materialized="by_date",
{extra}    )
}}}}
"""


_UNTIL_EXPIRED = (
    """        post_hook="delete from {{ this }} where {{ wide_day_expired('as_of_date', this) }}",\n"""
)
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


def _until_sql(tag: Tag, table: str) -> str:
    """For a tag that is kept: the first day on which what the rule found no longer holds by itself."""
    return f"case when {_set_value(tag, table)} is not null then {_expires_sql(tag, table)} end"


def _shown(tags: Sequence[Tag], table: str = "judged") -> list[tuple[str, str]]:
    """Columns of int_tags__versions and their SQL: what the rules found of a user, as text."""
    columns = [(value_column(tag.code), _set_value(tag, table)) for tag in tags]
    columns += [(f"until__{tag.code}", _until_sql(tag, table)) for tag in _keeps(tags)]
    return columns


def user_days_sql() -> str:
    """Model int_tags__user_days: which row of int_tags__versions shows a user's tags on a business day."""
    return (
        _by_date_config(_UNTIL_EXPIRED)
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
        ["user_id", "facts_hash as version", *(f"{sql} as {name}" for name, sql in _shown(tags))]
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
    moved = _stacked_sql(
        "sides", ("step",), shown, [(literal(tag.code), value_column(tag.code)) for tag in tags]
    )
    found = _stacked_sql(
        "judged", (), shown, [(literal(tag.code), _set_value(tag, "judged")) for tag in tags]
    )
    columns = ", ".join(
        ["user_id", *(f"{_set_value(tag, 'judged')} as {value_column(tag.code)}" for tag in tags)]
    )
    held = ", ".join(["versions.user_id", *(f"versions.{value_column(tag.code)}" for tag in tags)])
    return (
        _by_date_config(_UNTIL_EXPIRED)
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
    keeps = _keeps(tags)
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
        _by_date_config(_UNTIL_EXPIRED)
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


def _kept_pivot(keeps: Sequence[Tag]) -> str:
    """Columns of what int_tags__kept holds of a user and day, side by side."""
    return "".join(
        f",\n            max(case when tag = {literal(tag.code)} then value end) as {value_column(tag.code)}, "
        f"max(case when tag = {literal(tag.code)} then kept_from_date end) as kept__{tag.code}, "
        f"max(case when tag = {literal(tag.code)} then expires_on end) as until__{tag.code}"
        for tag in keeps
    )


def evaluated_sql(tags: Sequence[Tag], wide: Mapping[str, Column]) -> str:
    """Model int_tags__evaluated: int_tags__judged with what is kept from an earlier day; what other models read."""
    keeps = _keeps(tags)
    if not keeps:
        return (
            '{{ config(materialized="view") }}\n'
            + model_header("dbt_project/specs/tags/")
            + "-- depends_on: {{ ref('int_tags__kept') }}\n"
            "select *\nfrom {{ ref('int_tags__judged') }}\n"
        )
    columns = ["judged.user_id", "judged.changed_on"]
    for tag in tags:
        code, has = tag.code, dict(_declared(tag))
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
                f"case when {is_kept} then kept.until__{code} else {_expires_sql(tag, 'judged')} end as expires__{code}"
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
            user_id{_kept_pivot(keeps)}
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


# A project without tags keeps its marts, empty.
_NO_TAGS_COUNTED = """        select '' as tag, 0 as users_count, 0 as known_count
        from evaluated
        where false"""


def _declared(tag: Tag) -> list[tuple[str, str]]:
    spec = tag.spec
    if tag.is_observed:
        return [(prefix, f"{prefix}__{tag.code}") for prefix in _OBSERVED_COLUMNS]
    pairs = [
        ("first", spec.first_set_by),
        ("confirmed", spec.confirmed_by),
        ("evidence", spec.evidence),
        ("weight", spec.weight),
    ]
    return [(prefix, name) for prefix, name in pairs if name]


def _text_sql(tag: Tag, column: str) -> str:
    if tag.type is ValueType.BOOLEAN:
        return f"case when {column} then 'true' end"
    return f"cast({column} as {{{{ dbt.type_string() }}}})"


# First of the days back from as_of that int_tags__user_days holds without a gap, inside the window that every run fills.
_WINDOW_START = """select coalesce(min(as_of_date), {{ as_of() }}) as first_day
        from (
            select as_of_date, row_number() over (order by as_of_date desc nulls last) as day_number
            from (
                select distinct as_of_date
                from {{ ref('int_tags__user_days') }}
                where as_of_date between {{ add_days(as_of(), 1 - var('history_days')) }} and {{ as_of() }}
            ) as days
        ) as numbered
        where {{ days_between('as_of_date', as_of()) }} = day_number - 1"""


# A day of the window that the day held may have begun with is not before this one.
_WINDOW_HELD = "{{ add_days(forward_from(), 1 - var('history_days')) }}"


def _carry_sql(tags: Sequence[Tag]) -> str:
    """Statements that take the rows of users of whom nothing changed to another day, column by column.

    Three columns move by themselves: a tag without a declared last fact is confirmed on the day, one without a declared
    first fact is set at the earliest since the first day of the window, and interests fade. Rows that have such a day for
    a fact of their own move along and are put right again: see _dated_sql.
    """
    window = f"(select {{{{ day_start('first_day') }}}} from ({_WINDOW_START}) as window_start)"
    confirmed = "coalesce({{ day_start('dated.confirmed_on') }}, held.last_confirmed_at)"
    first = "coalesce({{ day_start('dated.first_on') }}, held.first_set_at)"
    statements = [
        "update {{ this }} set last_confirmed_at = {{ day_start(as_of()) }} "
        "where last_confirmed_at = {{ day_start(forward_from()) }}",
        f"update {{{{ this }}}} set first_set_at = least({window}, last_confirmed_at) "
        "where first_set_at >= {{ day_start(add_days(forward_from(), 1 - var('history_days'))) }} "
        f"and first_set_at < {window}",
        f"update {{{{ this }}}} as held set last_confirmed_at = {confirmed}, first_set_at = least({first}, {confirmed}) "
        "from {{ scratch_name('dated') }} as dated where held.user_id = dated.user_id and held.tag = dated.tag",
    ]
    if interests := [literal(tag.code) for tag in tags if tag.spec.interest is not None]:
        statements.append(
            "update {{ this }} as held set weight = faded.weight from {{ ref('int_tags__observed') }} as faded "
            "where held.user_id = faded.user_id and held.tag = faded.tag and faded.place = 1 and faded.is_set "
            f"and held.tag in ({', '.join(interests)}) and faded.tag in ({', '.join(interests)})"
        )
    return "; ".join(" ".join(statement.split()) for statement in statements)


def _dated_sql(tags: Sequence[Tag]) -> str:
    """Tags of users judged as before that have one of the days which move along for a fact of their own, with that fact."""
    by_tag = [(tag, dict(_declared(tag))) for tag in tags]
    by_tag = [(tag, has) for tag, has in by_tag if "first" in has or "confirmed" in has]
    # The first day is not later than the last: one that lies ahead moves with the days.
    first = f"first_on > {{{{ forward_from() }}}} or (first_on >= {_WINDOW_HELD} and first_on < first_day)"
    rows: list[Sequence[str]] = []
    conditions: dict[tuple[str, str], str] = {}
    for tag, has in by_tag:
        rows.append(
            (
                literal(tag.code),
                *(
                    f"{prefix}__{tag.code}" if prefix in has else "cast(null as date)"
                    for prefix in ("first", "confirmed")
                ),
            )
        )
        # Many tags name the same day: one look at it.
        if "first" in has:
            conditions.setdefault(("first", has["first"]), first.replace("first_on", f"first__{tag.code}"))
        if "confirmed" in has:
            moves = f"confirmed__{tag.code} = {{{{ forward_from() }}}}"
            conditions.setdefault(("confirmed", has["confirmed"]), moves)
    stacked = _stacked_sql("facts", ("user_id", "first_day"), ("tag", "first_on", "confirmed_on"), rows)
    return f"""with
    facts as (
        select *
        from {{{{ ref('int_tags__judged') }}}}
        cross join ({_WINDOW_START}) as window_start
        where changed_on <= {{{{ forward_from() }}}} and ({" or ".join(conditions.values()) or "false"})
    ),

    dated as (
{stacked}
    )

select
    user_id,
    tag,
    case when {first} then first_on end as first_on,
    case when confirmed_on = {{{{ forward_from() }}}} then confirmed_on end as confirmed_on
from dated
where confirmed_on = {{{{ forward_from() }}}} or {first}
"""


def _other_users_sql(tags: Sequence[Tag]) -> str:
    """Users whose rows of user_tags are written again though they are judged as before: a value is or was kept, or a tag
    was set on a day between the two, though it was set on both."""
    parts = [
        "select user_id from {{ ref('user_tag_history') }} where change = 'set' "
        "and as_of_date > {{ forward_from() }} and as_of_date <= {{ as_of() }}"
    ]
    if _keeps(tags):
        parts.append(
            "select user_id from {{ ref('int_tags__kept') }} where as_of_date in ({{ as_of() }}, {{ forward_from() }})"
        )
    return "\nunion\n".join(parts)


# What int_tags__evaluated says of each tag, as user_tags shows it.
_SET_COLUMNS = (
    "tag",
    "tag_value",
    "weight",
    "first_on",
    "last_confirmed_on",
    "expires_on",
    "evidence_count",
    "last_activity",
)


def user_tags_sql(tags: Sequence[Tag]) -> str:
    """Model user_tags: one row per user and tag that is set."""
    rows = []
    for tag in tags:
        has = dict(_declared(tag))
        column, code = value_column(tag.code), tag.code
        can_confirm = "confirmed" in has or tag.spec.empty_result == "keep"
        confirmed = f"coalesce(confirmed__{code}, {{{{ as_of() }}}})" if can_confirm else "{{ as_of() }}"
        kept = tag.spec.empty_result == "keep" and tag.has_expiry
        expires = f"expires__{code}" if kept else _expires_sql(tag)
        rows.append(
            (
                literal(code),
                _text_sql(tag, column),
                f"coalesce(cast(weight__{code} as double), 1)" if "weight" in has else "cast(1 as double)",
                f"first__{code}" if "first" in has else "cast(null as date)",
                confirmed,
                expires,
                f"coalesce(cast(evidence__{code} as bigint), 1)"
                if "evidence" in has
                else "cast(1 as bigint)",
                f"activity__{code}" if "activity" in has else "cast(null as varchar)",
            )
        )
    stacked = _stacked_sql("evaluated", ("user_id",), _SET_COLUMNS, rows)
    among = "{% if forward %} where user_id in (select user_id from touched){% endif %}"
    interests = ", ".join(literal(tag.code) for tag in tags if tag.spec.interest is not None) or "''"
    return (
        model_header("dbt_project/specs/tags/")
        + f"""{{{{
    config(
        materialized="running",
        unique_key="user_id",
        pre_hook="{{% if is_forward() %}}{_carry_sql(tags)}{{% endif %}}",
        meta={{"replaced": "touched", "scratch": ["dated", "others", "touched"]}},
    )
}}}}
-- depends_on: {{{{ ref('int_tags__judged') }}}}, {{{{ ref('int_tags__kept') }}}}, {{{{ ref('int_tags__evaluated') }}}}
{{% set forward = is_forward() %}}
{{#- Who has gone since, and what was kept, is known of a day that is held. -#}}
{{% if forward and not has_rows("select 1 as one from " ~ ref("int_tags__user_days") ~ " where as_of_date = " ~ forward_from()) %}}
{{% do build_anew() %}}
{{% set forward = false %}}
{{% endif %}}
{{% set dated %}}
{_dated_sql(tags)}{{% endset %}}
{{% if forward %}}
{{% do counted_rows("dated", dated) %}}
{{% endif %}}
{{% set others %}}
select user_id
from (
{_other_users_sql(tags)}
) as others
where user_id not in (select user_id from {{{{ ref('int_tags__judged') }}}} where changed_on > {{{{ forward_from() }}}})
{{% endset %}}
{{% set touched %}}
select user_id from {{{{ scratch_name("others") }}}}
union
select user_id from {{{{ ref('int_tags__judged') }}}} where changed_on > {{{{ forward_from() }}}}
union
select user_id
from {{{{ ref('int_tags__user_days') }}}} as held
where
    as_of_date = {{{{ forward_from() }}}}
    and not exists (
        select 1 from {{{{ ref('int_tags__judged') }}}} as judged where judged.user_id = held.user_id
    )
{{% endset %}}
{{#- Rows that are new stand together in the table; the others are looked for in all of it, if there are any. -#}}
{{% set evaluated %}}
select * from {{{{ ref('int_tags__evaluated') }}}} where changed_on > {{{{ forward_from() }}}}
{{% if forward and has_rows(counted_rows("others", others)) %}}
union all
select * from {{{{ ref('int_tags__evaluated') }}}} where user_id in (select user_id from {{{{ scratch_name("others") }}}})
{{% endif %}}
{{% endset %}}
with
    {{% if forward %}}
    touched as ({{{{ counted_rows("touched", touched) }}}}),

    evaluated as ({{{{ evaluated }}}}),
    {{% else %}}
    evaluated as (select * from {{{{ ref('int_tags__evaluated') }}}}),
    {{% endif %}}

    history as (select * from {{{{ ref('user_tag_history') }}}}{among}),

    interests as (
        select user_id, tag, weight
        from {{{{ ref('int_tags__observed') }}}}
        where
            place = 1 and is_set and tag in ({interests})
            {{% if forward %}} and user_id in (select user_id from touched){{% endif %}}
    ),

    all_tags as (
{stacked}
    ),

    set_tags as (select * from all_tags where tag_value is not null),

    window_start as (
        {_WINDOW_START}
    ),

    set_days as (
        select history.user_id, history.tag, max(history.as_of_date) as set_on
        from history
        cross join window_start
        where history.change = 'set' and history.as_of_date > window_start.first_day and history.as_of_date <= {{{{ as_of() }}}}
        group by history.user_id, history.tag
    ),

    dated as (
        select
            set_tags.*,
            interests.weight as interest_weight,
            -- A first day after the last one would be a contradiction in the data; the earlier of both is safe.
            least(
                coalesce(set_tags.first_on, set_days.set_on, window_start.first_day), set_tags.last_confirmed_on
            ) as first_set_on
        from set_tags
        cross join window_start
        left join set_days on set_tags.user_id = set_days.user_id and set_tags.tag = set_days.tag
        left join interests on set_tags.user_id = interests.user_id and set_tags.tag = interests.tag
    ),

    final as (
        select
            user_id,
            cast(tag as {{{{ dbt.type_string() }}}}) as tag,
            cast(tag_value as {{{{ dbt.type_string() }}}}) as value,
            coalesce(interest_weight, weight) as weight,
            {{{{ day_start('first_set_on') }}}} as first_set_at,
            {{{{ day_start('last_confirmed_on') }}}} as last_confirmed_at,
            {{{{ day_start('expires_on') }}}} as expires_at,
            evidence_count,
            cast(last_activity as {{{{ dbt.type_string() }}}}) as last_activity
        from dated
    )

select *
from final
"""
    )


_HISTORY_CONFIG = _by_date_config(
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
    keeps = _keeps(tags)
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
            expired = f"coalesce({_expires_sql(tag, 'today')} <= {{{{ as_of() }}}}, false)"
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
    sides = _stacked_sql(
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
            as_of_date{_kept_pivot(keeps)}
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
        always = tag.spec.empty_result != "keep" and evaluated(tag, _NAMES)[1] == "true"
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
    keeps = _keeps(tags)
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
            as_of_date{_kept_pivot(keeps)}
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
        f"        select user_id, {literal(tag.code)} as tag, {_set_value(tag, 'evaluated')} as value, "
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


# --- catalogue -------------------------------------------------------------------------------------------


_DEFINITION_FIELDS = (
    "tag",
    "title_zh",
    "title_en",
    "category",
    "category_zh",
    "category_en",
    "family",
    "family_zh",
    "family_en",
    "description",
    "value_type",
    "rule",
    "rule_hash",
    "source",
    "validity_days",
    "refresh",
    "owner",
    "status",
    "parent",
    "empty_result",
    "evidence",
    "ask_zh",
    "ask_en",
)


def definitions_csv(tags: Sequence[Tag]) -> str:
    """Seed of the tag catalogue."""
    rows = []
    for tag in tags:
        category = CATEGORY_LABELS[tag.family.category]
        rows.append(
            {
                "tag": tag.code,
                "title_zh": tag.spec.title.zh,
                "title_en": tag.spec.title.en,
                "category": tag.family.category,
                "category_zh": category[0],
                "category_en": category[1],
                "family": tag.family.family,
                "family_zh": tag.family.title.zh,
                "family_en": tag.family.title.en,
                "description": " ".join(tag.spec.description.split()),
                "value_type": tag.value_type,
                "rule": tag.words,
                "rule_hash": tag.rule_hash,
                "source": tag.source,
                "validity_days": "" if tag.spec.validity_days is None else str(tag.spec.validity_days),
                "refresh": "daily",
                "owner": tag.spec.owner or tag.family.owner,
                "status": tag.spec.status,
                "parent": tag.spec.parent or "",
                "empty_result": tag.spec.empty_result,
                "evidence": tag.source if tag.is_observed else tag.spec.evidence or "",
                "ask_zh": tag.spec.ask.zh if tag.spec.ask else "",
                "ask_en": tag.spec.ask.en if tag.spec.ask else "",
            }
        )
    return csv_text(_DEFINITION_FIELDS, rows)


_SOURCE_FIELDS = ("tag", "kind", "dimension", "question", "half_life_days", "floor", "top", "validity_days")


def sources_csv(tags: Sequence[Tag]) -> str:
    """Seed of the tags that int_tags__observed computes: interests, answers and what staff set."""
    rows = []
    for tag in tags:
        if not tag.is_observed:
            continue
        interest = tag.spec.interest
        rows.append(
            {
                "tag": tag.code,
                "kind": "interest" if interest else "question" if tag.spec.question else "by_hand",
                "dimension": interest.dimension if interest else "",
                "question": tag.spec.question or "",
                "half_life_days": str(interest.half_life_days) if interest else "",
                "floor": str(interest.floor) if interest else "",
                "top": str(interest.top) if interest else "",
                "validity_days": str(tag.spec.validity_days or ""),
            }
        )
    return csv_text(_SOURCE_FIELDS, rows)


def values_csv(tags: Sequence[Tag]) -> str:
    """Seed of the values that tags can take: one row per value of an enumerated tag, one for a yes/no tag."""
    rows = []
    for tag in tags:
        labelled: Sequence[CaseSpec | ValueSpec] = tag.spec.cases or tag.spec.values or ()
        entries = [(entry.value, entry.title) for entry in labelled]
        if tag.type is ValueType.BOOLEAN:
            entries = [("true", tag.spec.title)]
        for position, (value, title) in enumerate(entries, start=1):
            rows.append(
                {
                    "tag": tag.code,
                    "value": value,
                    "position": str(position),
                    "title_zh": title.zh,
                    "title_en": title.en,
                }
            )
    return csv_text(("tag", "value", "position", "title_zh", "title_en"), rows)


def _check(project: Project) -> list[Problem]:
    return read_tags(project)[1]


def _compile(project: Project) -> dict[str, str]:
    tags = list(read_tags(project)[0].values())
    active = [tag for tag in tags if tag.is_active]
    return {
        "dbt_project/models/intermediate/tags/int_tags__judged.sql": judged_sql(active, project.segments),
        "dbt_project/models/intermediate/tags/int_tags__user_days.sql": user_days_sql(),
        "dbt_project/models/intermediate/tags/int_tags__versions.sql": versions_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__day_counts.sql": day_counts_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__kept.sql": kept_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__evaluated.sql": evaluated_sql(
            active, project.columns
        ),
        "dbt_project/models/marts/tags/user_tags.sql": user_tags_sql(active),
        "dbt_project/models/marts/tags/user_tag_history.sql": history_sql(active),
        "dbt_project/models/marts/tags/tag_coverage.sql": coverage_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__value_counts.sql": value_counts_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__askable.sql": askable_sql(active),
        "seeds/catalog/catalog_tag_definitions.csv": definitions_csv(tags),
        "seeds/catalog/catalog_tag_values.csv": values_csv(tags),
        "seeds/catalog/catalog_tag_sources.csv": sources_csv(active),
    }


KIND: Kind[TagFamilySpec] = Kind(FOLDER, TagFamilySpec, lambda spec: spec.family, _check, _compile)
