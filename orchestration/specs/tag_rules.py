"""What the compiled tag models share: a tag's columns, its rule as SQL, and what is said of it side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from orchestration.specs.catalog import ValueType
from orchestration.specs.generated import DBT_NAMES
from orchestration.specs.predicates import Names, literal, to_sql, to_sql_boolean
from orchestration.specs.rule_sql import UserNames
from orchestration.specs.tags import Tag


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


NAMES = TagNames(DBT_NAMES)


def _jinja_text(sql: str) -> str:
    """SQL as a text inside a Jinja expression; macros called in it are called there."""
    return re.sub(r"\{\{ (.*?) \}\}", r'" ~ \1 ~ "', json.dumps(sql, ensure_ascii=False))


def stacked_sql(
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
OBSERVED_COLUMNS = {
    "first": "first_on",
    "confirmed": "last_on",
    "expires": "expires_on",
    "evidence": "evidence_count",
    "activity": "last_activity",
}


def row_hash_sql(columns: Sequence[str]) -> str:
    """One hash of some columns."""
    return "{{ row_hash([" + ", ".join(f'"{column}"' for column in columns) + "]) }}"


def kept_tags(tags: Sequence[Tag]) -> list[Tag]:
    """Tags that keep their last values on a day on which their rule finds nobody."""
    return [tag for tag in tags if tag.spec.empty_result == "keep"]


def set_value(tag: Tag, table: str) -> str:
    """The value of a tag that is set, as text, else null: a tag of another kind tomorrow fits into the same column."""
    return text_sql(tag, f"{table}.{value_column(tag.code)}")


def expires_sql(tag: Tag, table: str = "") -> str:
    """The first day on which the tag no longer holds by itself; null = never."""
    at = f"{table}." if table else ""
    if tag.is_observed:
        return f"{at}expires__{tag.code}"
    if tag.spec.validity_days is None:
        return "cast(null as date)"
    return f"{{{{ add_days('{at}confirmed__{tag.code}', {tag.spec.validity_days}) }}}}"


def by_date_config(extra: str) -> str:
    """One set of rows per business day, until the day is dropped."""
    return f"""{{{{
    config(
        materialized="by_date",
{extra}    )
}}}}
"""


UNTIL_EXPIRED = (
    """        post_hook="delete from {{ this }} where {{ wide_day_expired('as_of_date', this) }}",\n"""
)


def _until_sql(tag: Tag, table: str) -> str:
    """For a tag that is kept: the first day on which what the rule found no longer holds by itself."""
    return f"case when {set_value(tag, table)} is not null then {expires_sql(tag, table)} end"


def shown_columns(tags: Sequence[Tag], table: str = "judged") -> list[tuple[str, str]]:
    """Columns of int_tags__versions and their SQL: what the rules found of a user, as text."""
    columns = [(value_column(tag.code), set_value(tag, table)) for tag in tags]
    columns += [(f"until__{tag.code}", _until_sql(tag, table)) for tag in kept_tags(tags)]
    return columns


def kept_pivot(keeps: Sequence[Tag]) -> str:
    """Columns of what int_tags__kept holds of a user and day, side by side."""
    return "".join(
        f",\n            max(case when tag = {literal(tag.code)} then value end) as {value_column(tag.code)}, "
        f"max(case when tag = {literal(tag.code)} then kept_from_date end) as kept__{tag.code}, "
        f"max(case when tag = {literal(tag.code)} then expires_on end) as until__{tag.code}"
        for tag in keeps
    )


def named_facts(tag: Tag) -> list[tuple[str, str]]:
    """What the declaration names besides the value, as prefix of a column of int_tags__judged and column of its source."""
    spec = tag.spec
    if tag.is_observed:
        return [(prefix, f"{prefix}__{tag.code}") for prefix in OBSERVED_COLUMNS]
    pairs = [
        ("first", spec.first_set_by),
        ("confirmed", spec.confirmed_by),
        ("evidence", spec.evidence),
        ("weight", spec.weight),
    ]
    return [(prefix, name) for prefix, name in pairs if name]


def text_sql(tag: Tag, column: str) -> str:
    """A tag's value as text, null when it is not set."""
    if tag.type is ValueType.BOOLEAN:
        return f"case when {column} then 'true' end"
    return f"cast({column} as {{{{ dbt.type_string() }}}})"


# First of the days back from as_of that int_tags__user_days holds without a gap, inside the window that every run fills.
WINDOW_START = """select coalesce(min(as_of_date), {{ as_of() }}) as first_day
        from (
            select as_of_date, row_number() over (order by as_of_date desc nulls last) as day_number
            from (
                select distinct as_of_date
                from {{ ref('int_tags__user_days') }}
                where as_of_date between {{ add_days(as_of(), 1 - var('history_days')) }} and {{ as_of() }}
            ) as days
        ) as numbered
        where {{ days_between('as_of_date', as_of()) }} = day_number - 1"""
