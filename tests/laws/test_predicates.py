"""Random conditions on random users: the compiled SQL gives what the plain-Python meaning gives."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.documents import Document
from orchestration.specs.predicates import (
    AnyOf,
    Not,
    Predicate,
    TagType,
    Vocabulary,
    holds,
    in_words,
    literal,
    read_predicate,
    to_sql,
    to_sql_boolean,
    walk,
)

AS_OF = dt.date(2026, 6, 30)
COLUMNS = {
    name: Column(name, kind, sql_type, "")
    for name, kind, sql_type in (
        ("n", ValueType.NUMBER, "bigint"),
        ("money", ValueType.NUMBER, "decimal(18,4)"),
        ("share", ValueType.NUMBER, "double"),
        ("city", ValueType.TEXT, "varchar"),
        ("flag", ValueType.BOOLEAN, "boolean"),
        ("day", ValueType.DATE, "date"),
        ("moment", ValueType.MOMENT, "timestamp"),
    )
}
TAGS = {"set_or_not": TagType(ValueType.BOOLEAN), "level": TagType(ValueType.TEXT, ("high", "low"))}
AUDIENCES = ("others",)

words = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp"), include_characters="'\\{}%\"; -\n"),
    max_size=8,
)
texts = st.one_of(
    st.sampled_from(["", "a", "b", "'", "''", "\\", "\\'", "{", "}}", "'; drop table users; --"]), words
)
whole = st.one_of(st.integers(-3, 3), st.integers(-(10**13), 10**13))
money = st.decimals(-10_000, 10_000, places=2)
days = st.dates(dt.date(2026, 6, 1), dt.date(2026, 7, 5))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": whole,
    "money": st.one_of(money, whole),
    "share": st.decimals(0, 1, places=2),
    "city": texts,
    "flag": st.booleans(),
    "day": days.map(dt.date.isoformat),
}
OPERATORS = {
    "n": ("eq", "ne", "gt", "gte", "lt", "lte", "in", "between"),
    "money": ("eq", "ne", "gt", "gte", "lt", "lte", "in", "between"),
    "share": ("eq", "ne", "gt", "gte", "lt", "lte", "in", "between"),
    "city": ("eq", "ne", "in"),
    "flag": ("eq", "ne"),
    "day": ("eq", "ne", "gt", "gte", "lt", "lte", "in", "between"),
}


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["compare"] * 6 + ["null", "within", "tag", "level", "audience"]))
    if kind == "null":
        return {"column": draw(st.sampled_from(sorted(COLUMNS))), "is_null": draw(st.booleans())}
    if kind == "within":
        return {"column": "day", "within_days": draw(st.integers(1, 40))}
    if kind == "tag":
        return {"tag": draw(st.sampled_from(sorted(TAGS)))}
    if kind == "level":
        return {"tag": "level", draw(st.sampled_from(["eq", "ne"])): draw(st.sampled_from(["high", "low"]))}
    if kind == "audience":
        return {"audience": "others"}
    column = draw(st.sampled_from(sorted(VALUES)))
    operator = draw(st.sampled_from(OPERATORS[column]))
    if operator == "in":
        return {
            "column": column,
            "in": tuple(draw(st.lists(VALUES[column], min_size=1, max_size=4, unique=True))),
        }
    if operator == "between":
        pair = sorted(draw(st.tuples(VALUES[column], VALUES[column])))
        return {"column": column, "between": tuple(pair)}
    return {"column": column, operator: draw(VALUES[column])}


conditions: st.SearchStrategy[dict[str, Any]] = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"all": tuple(parts)}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"any": tuple(parts)}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=8,
)
rows = st.fixed_dictionaries(
    {
        "n": st.none() | whole,
        "money": st.none() | money,
        "share": st.none() | st.decimals(0, 1, places=2).map(float),
        "city": st.none() | texts,
        "flag": st.none() | st.booleans(),
        "day": st.none() | days,
        "moment": st.none() | st.just(dt.datetime(2026, 6, 1)),
        "tag__set_or_not": st.none() | st.booleans(),
        "tag__level": st.none() | st.sampled_from(["high", "low"]),
        "is_other": st.booleans(),
    }
)


class Names:
    """How this test's statement spells names."""

    def column(self, name: str) -> str:
        return f"users.{name}"

    def tag(self, name: str) -> str:
        return f"users.tag__{name}"

    def tag_is_boolean(self, name: str) -> bool:
        return name == "set_or_not"

    def members(self, audience: str) -> str:
        return f"select user_id from {audience}"

    def user_id(self) -> str:
        return "users.user_id"

    def as_of(self, days: int) -> str:
        return literal(AS_OF + dt.timedelta(days=days))


def typed(raw: dict[str, Any]) -> Predicate:
    document = Document(Path("x.yml"), "x.yml", {}, {})
    predicate, problems = read_predicate(raw, Vocabulary(COLUMNS, TAGS, AUDIENCES), document, ())
    assert predicate is not None, problems
    return predicate


ENGINE = duckdb.connect(":memory:")


def session(users: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    connection = ENGINE
    connection.execute("""
        create or replace table users (user_id integer, n bigint, money decimal(18, 4), share double, city varchar, flag boolean,
            day date, moment timestamp, tag__set_or_not boolean, tag__level varchar);
        create or replace table others (user_id integer);
    """)
    columns = [name for name in users[0] if name != "is_other"]
    connection.executemany(
        f"insert into users (user_id, {', '.join(columns)}) values ({', '.join('?' * (len(columns) + 1))})",
        [[user_id, *(user[name] for name in columns)] for user_id, user in enumerate(users)],
    )
    others = [[user_id] for user_id, user in enumerate(users) if user["is_other"]]
    if others:
        connection.executemany("insert into others values (?)", others)
    return connection


def meaning(predicate: Predicate, user: dict[str, Any]) -> bool:
    tags = {name.removeprefix("tag__"): value for name, value in user.items() if name.startswith("tag__")}
    return holds(predicate, user, tags, AUDIENCES if user["is_other"] else (), AS_OF)


@settings(max_examples=100, deadline=None)
@given(raw=conditions, users=st.lists(rows, min_size=1, max_size=12))
def test_sql_is_the_meaning(raw: dict[str, Any], users: list[dict[str, Any]]) -> None:
    predicate = typed(raw)
    connection = session(users)
    filtered = connection.execute(
        f"select user_id from users where {to_sql(predicate, Names())} order by 1"
    ).fetchall()
    valued = connection.execute(
        f"select {to_sql_boolean(predicate, Names())} from users order by user_id"
    ).fetchall()
    expected = [meaning(predicate, user) for user in users]
    assert [user_id for (user_id,) in filtered] == [user_id for user_id, met in enumerate(expected) if met]
    assert [met for (met,) in valued] == expected


@settings(max_examples=200, deadline=None)
@given(raw=conditions, user=rows)
def test_a_condition_and_its_negation_share_everybody(raw: dict[str, Any], user: dict[str, Any]) -> None:
    predicate = typed(raw)
    assert meaning(predicate, user) != meaning(Not(predicate), user)
    assert meaning(AnyOf((predicate, Not(predicate))), user)
    assert in_words(predicate)
    assert predicate in list(walk(predicate))


@settings(max_examples=300, deadline=None)
@given(text=texts)
def test_a_literal_is_its_text_and_opens_no_template(text: str) -> None:
    sql = literal(text)
    assert "{" not in sql
    assert "}" not in sql
    assert "\\" not in sql
    assert ENGINE.execute(f"select {sql}").fetchone() == (text,)


def test_empty_values_meet_no_comparison_and_every_negation() -> None:
    user = {"n": None, "city": None}
    for raw in ({"column": "n", "ne": 5}, {"column": "n", "gte": 5}, {"column": "city", "in": ("a",)}):
        assert not holds(typed(raw), user)
        assert holds(typed({"not": raw}), user)
    assert holds(typed({"column": "n", "is_null": True}), user)


def test_days_count_back_from_as_of_inclusive() -> None:
    predicate = typed({"column": "day", "within_days": 7})
    for day, inside in (
        (dt.date(2026, 6, 23), False),
        (dt.date(2026, 6, 24), True),
        (AS_OF, True),
        (dt.date(2026, 7, 1), False),
    ):
        assert holds(predicate, {"day": day}, as_of=AS_OF) is inside


def test_a_decimal_is_written_exactly() -> None:
    assert literal(Decimal("0.10")) == "0.10"
    assert literal(Decimal("0.0000001")) == "0.0000001"
