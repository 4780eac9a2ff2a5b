"""Random conditions on random users: the compiled SQL gives what the plain-Python meaning gives."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import jsonschema  # type: ignore[import-untyped]
import pyarrow as pa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestration.specs.activities import EVENT_COLUMNS
from orchestration.specs.catalog import Column, Segment, ValueType
from orchestration.specs.conditions import Vocabulary, read_predicate
from orchestration.specs.documents import Document
from orchestration.specs.event_sql import counted_ctes, needed_rows
from orchestration.specs.predicates import (
    AnyOf,
    Facts,
    Names,
    Not,
    Predicate,
    TagType,
    holds,
    in_words,
    literal,
    to_sql,
    to_sql_boolean,
    walk,
)
from orchestration.specs.rule_sql import Sources, UserNames
from orchestration.specs.schema import conditions as schema_of

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
CELL = Column("cell", ValueType.TEXT, "varchar", "", ("gold", "grey"))
SCORE = Column("score", ValueType.NUMBER, "integer", "")
SEGMENTS = {
    "cells": Segment("cells", "cells_of_users", CELL),
    "scores": Segment("scores", "scores_of_users", SCORE),
}
FUNNELS = {"shop": ("view", "cart", "buy")}
ACTIVITIES = ("view", "cart", "pay")
VOCABULARY = Vocabulary(
    COLUMNS,
    TAGS,
    AUDIENCES,
    activities=ACTIVITIES,
    segments={name: segment.column for name, segment in SEGMENTS.items()},
    funnels=FUNNELS,
)

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
    "city": ("eq", "ne", "in", "contains"),
    "flag": ("eq", "ne"),
    "day": ("eq", "ne", "gt", "gte", "lt", "lte", "in", "between"),
}


brands = st.sampled_from(["a", "b", "'"])
some_activities = st.one_of(
    st.sampled_from(ACTIVITIES),
    st.lists(st.sampled_from(ACTIVITIES), min_size=1, max_size=3, unique=True).map(tuple),
)
wheres = st.one_of(
    st.builds(lambda value: {"column": "brand", "eq": value}, brands),
    st.builds(lambda value: {"column": "amount", "gte": value}, st.integers(0, 3)),
    st.just({"any": ({"column": "channel", "is_null": True}, {"not": {"column": "brand", "contains": "a"}})}),
)
last_days = st.integers(1, 9)


@st.composite
def on_activities(draw: st.DrawFn) -> dict[str, Any]:
    def some(**fields: Any) -> dict[str, Any]:
        return {name: draw(value) for name, value in fields.items() if draw(st.booleans())}

    kind = draw(st.sampled_from(["did", "last one", "never", "sequence", "value", "value", "top"]))
    if kind == "did":
        more = some(at_least=st.integers(1, 3), where=wheres, within_days=last_days)
        return {"did": draw(some_activities), **more}
    if kind == "last one":
        first, after = draw(st.permutations(ACTIVITIES))[:2]
        return {"did": first, "not_followed_by": after, **some(where=wheres, within_days=last_days)}
    if kind == "never":
        return {"never_did": draw(some_activities), **some(where=wheres, within_days=last_days)}
    if kind == "sequence":
        step = st.one_of(
            st.sampled_from(ACTIVITIES),
            st.builds(lambda names, where: {"activity": names, "where": where}, some_activities, wheres),
        )
        steps = draw(st.lists(step, min_size=2, max_size=4).map(tuple))
        return {"sequence": steps, **some(max_days_apart=st.integers(1, 3), within_days=last_days)}
    which = {"of": draw(some_activities), **some(where=wheres, within_days=last_days)}
    column = draw(st.sampled_from(["brand", "channel"]))
    listed = draw(st.lists(brands, min_size=1, max_size=2, unique=True).map(tuple))
    if kind == "top":
        return {"top": column, "places": draw(st.integers(1, 3)), **which, "in": listed}
    operator = draw(st.sampled_from(["eq", "ne", "in", "is_null"]))
    value = {"in": listed, "is_null": draw(st.booleans())}.get(operator, listed[0])
    return {draw(st.sampled_from(["first", "last", "most_frequent"])): column, **which, operator: value}


@st.composite
def leaves(draw: st.DrawFn) -> dict[str, Any]:
    kinds = ["compare"] * 4 + ["did"] * 6
    kinds += ["null", "within", "tag", "level", "audience", "cells", "scores", "funnel"]
    kind = draw(st.sampled_from(kinds))
    if kind == "did":
        return draw(on_activities())
    if kind == "cells":
        return {"segment": "cells", "in": draw(st.sampled_from([("gold",), ("grey",), ("gold", "grey")]))}
    if kind == "scores":
        return {"segment": "scores", draw(st.sampled_from(["gte", "lt", "ne"])): draw(st.integers(0, 3))}
    if kind == "funnel":
        found: dict[str, Any] = {"funnel": "shop", "at_step": draw(st.sampled_from(FUNNELS["shop"]))}
        if draw(st.booleans()):
            found["within_days"] = draw(last_days)
        return found | ({"window_over": draw(st.booleans())} if draw(st.booleans()) else {})
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
    if operator == "contains":
        return {"column": column, "contains": draw(texts.filter(bool))}
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
# Moments lie on and around the ends of days, and exactly whole days apart.
moments = st.builds(
    lambda days, seconds: (
        dt.datetime.combine(AS_OF, dt.time()) - dt.timedelta(days=days) + dt.timedelta(seconds=seconds)
    ),
    st.integers(0, 9),
    st.sampled_from([0, 1, 43_200, 86_399]),
)
activities = st.fixed_dictionaries(
    {
        "activity": st.sampled_from(ACTIVITIES),
        "occurred_at": moments,
        "brand": st.none() | brands,
        "channel": st.none() | brands,
        "amount": st.none() | st.integers(0, 3).map(Decimal),
    }
)
attempts = st.fixed_dictionaries(
    {
        "funnel": st.sampled_from(["shop", "other"]),
        "level": st.integers(1, 3),
        "entered_at": moments,
        "is_mature": st.booleans(),
    }
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
        "cell": st.none() | st.sampled_from(["gold", "grey"]),
        "score": st.none() | st.integers(0, 3),
        "activities": st.lists(activities, max_size=7),
        "attempts": st.lists(attempts, max_size=2),
    }
)


class Spelled(UserNames):
    """How this test's statement spells names."""

    def tag(self, name: str) -> str:
        return f"users.tag__{name}"

    def tag_is_boolean(self, name: str) -> bool:
        return name == "set_or_not"

    def members(self, audience: str) -> str:
        return f"select user_id from {audience}"

    def as_of(self, days: int) -> str:
        return literal(AS_OF + dt.timedelta(days=days))

    def moment(self, days: int) -> str:
        return f"cast('{AS_OF + dt.timedelta(days=days)}' as timestamp)"


NAMES: Names = Spelled()
DOCUMENT = Document(Path("x.yml"), "x.yml", {}, {})


def typed(raw: dict[str, Any]) -> Predicate:
    predicate, problems = read_predicate(raw, VOCABULARY, DOCUMENT, ())
    assert predicate is not None, problems
    return predicate


ENGINE = duckdb.connect(":memory:")
NUMBERS, TEXT, MONEY = pa.int64(), pa.string(), pa.decimal128(18, 4)
TABLES = {
    "all_users": {"n": NUMBERS, "money": MONEY, "share": pa.float64(), "city": TEXT, "flag": pa.bool_()}
    | {"day": pa.date32(), "moment": pa.timestamp("us"), "tag__set_or_not": pa.bool_(), "tag__level": TEXT},
    "others": {},
    "cells_of_users": {"cell": TEXT},
    "scores_of_users": {"score": pa.int32()},
    "all_activities": {"activity": TEXT, "occurred_at": pa.timestamp("us"), "activity_date": pa.date32()}
    | {"brand": TEXT, "channel": TEXT, "amount": MONEY},
    "funnel_users": {
        "funnel": TEXT,
        "level": pa.int32(),
        "entered_at": pa.timestamp("us"),
        "is_mature": pa.bool_(),
    },
}


def session(users: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    people = [user | {"user_id": user_id} for user_id, user in enumerate(users)]
    content: dict[str, list[dict[str, Any]]] = {
        "all_users": people,
        "others": [user for user in people if user["is_other"]],
        "cells_of_users": [user for user in people if user["cell"] is not None],
        "scores_of_users": [user for user in people if user["score"] is not None],
        "all_activities": [
            a | {"user_id": user["user_id"], "activity_date": a["occurred_at"].date()}
            for user in people
            for a in user["activities"]
        ],
        "funnel_users": [a | {"user_id": user["user_id"]} for user in people for a in user["attempts"]],
    }
    for name, columns in TABLES.items():
        schema = pa.schema({"user_id": NUMBERS, **columns})
        rows = [{column: row[column] for column in schema.names} for row in content[name]]
        ENGINE.register(name, pa.Table.from_pylist(rows, schema))
    return ENGINE


def statement(predicate: Predicate, select: str) -> str:
    """A statement on the CTE `users`, put together as the compiler and the preview do."""
    sources = Sources.of([predicate], SEGMENTS)
    ctes = []
    if sources.counted:
        wanted = needed_rows(sources.counted, NAMES)
        ctes.append(f"activities as (select * from all_activities where {wanted})")
        ctes += [f"{name} as ({sql})" for name, sql in counted_ctes(sources.counted, NAMES)]
    columns = ", ".join(["all_users.*", *sources.columns()])
    ctes.append(f"users as (select {columns} from all_users {' '.join(sources.joins('all_users'))})")
    return f"with {', '.join(ctes)} {select}"


def facts(user: dict[str, Any]) -> Facts:
    return Facts(
        user,
        {name.removeprefix("tag__"): value for name, value in user.items() if name.startswith("tag__")},
        AUDIENCES if user["is_other"] else (),
        AS_OF,
        {"cells": user["cell"], "scores": user["score"]},
        [
            dict.fromkeys(EVENT_COLUMNS) | a | {"activity_date": a["occurred_at"].date()}
            for a in user["activities"]
        ],
        [a | {"entered_date": a["entered_at"].date()} for a in user["attempts"]],
    )


def meaning(predicate: Predicate, user: dict[str, Any]) -> bool:
    return holds(predicate, facts(user))


def possible(raw: dict[str, Any]) -> Predicate:
    """The predicate; random lists of conditions may be such that nobody can meet them, and those are refused."""
    predicate, problems = read_predicate(raw, VOCABULARY, DOCUMENT, ())
    assume(predicate is not None or "nobody can meet" not in str(problems))
    assert predicate is not None, problems
    return predicate


def check(raw: dict[str, Any], users: list[dict[str, Any]]) -> None:
    predicate = possible(raw)
    connection = session(users)
    filtered = connection.execute(
        statement(predicate, f"select user_id from users where {to_sql(predicate, NAMES)} order by 1")
    ).fetchall()
    valued = connection.execute(
        statement(predicate, f"select {to_sql_boolean(predicate, NAMES)} from users order by user_id")
    ).fetchall()
    expected = [meaning(predicate, user) for user in users]
    assert [user_id for (user_id,) in filtered] == [user_id for user_id, met in enumerate(expected) if met]
    assert [met for (met,) in valued] == expected


@settings(max_examples=150, deadline=None)
@given(raw=conditions, users=st.lists(rows, min_size=1, max_size=12))
def test_sql_is_the_meaning(raw: dict[str, Any], users: list[dict[str, Any]]) -> None:
    check(raw, users)


@settings(max_examples=150, deadline=None)
@given(raw=on_activities(), users=st.lists(rows, min_size=3, max_size=12))
def test_sql_is_the_meaning_of_what_people_did(raw: dict[str, Any], users: list[dict[str, Any]]) -> None:
    check(raw, users)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(some_activities, min_size=2, max_size=4).map(tuple),
    apart=st.none() | st.integers(1, 3),
    user=rows,
)
def test_a_sequence_is_any_choice_of_different_activities_in_order(
    steps: tuple[Any, ...], apart: int | None, user: dict[str, Any]
) -> None:
    """The plain meaning tries few choices; here are all."""
    raw = {"sequence": steps} | ({} if apart is None else {"max_days_apart": apart})

    def fits(chosen: tuple[dict[str, Any], ...]) -> bool:
        moments = [one["occurred_at"] for one in chosen]
        within = apart is None or moments[-1] - moments[0] <= dt.timedelta(days=apart)
        return moments == sorted(moments) and within

    every = itertools.permutations(user["activities"], len(steps))
    named = [(step,) if isinstance(step, str) else step for step in steps]
    expected = any(
        fits(chosen) and all(one["activity"] in names for one, names in zip(chosen, named, strict=True))
        for chosen in every
    )
    assert meaning(typed(raw), user) == expected


@settings(max_examples=200, deadline=None)
@given(raw=conditions, user=rows)
def test_a_condition_and_its_negation_share_everybody(raw: dict[str, Any], user: dict[str, Any]) -> None:
    predicate = possible(raw)
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


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return float(value) if isinstance(value, Decimal) else value


SCHEMA = jsonschema.Draft202012Validator({"$ref": "#/$defs/Condition", "$defs": schema_of(VOCABULARY)})


@settings(max_examples=150, deadline=None)
@given(raw=conditions)
def test_what_the_reader_takes_an_editor_takes(raw: dict[str, Any]) -> None:
    possible(raw)
    errors = [error.message for error in SCHEMA.iter_errors(plain(raw))]
    assert errors == []
    assert not SCHEMA.is_valid({"sql": "1 = 1", **plain(raw)})


def test_empty_values_meet_no_comparison_and_every_negation() -> None:
    user = {"n": None, "city": None}
    for raw in ({"column": "n", "ne": 5}, {"column": "n", "gte": 5}, {"column": "city", "in": ("a",)}):
        assert not holds(typed(raw), Facts(user))
        assert holds(typed({"not": raw}), Facts(user))
    assert holds(typed({"column": "n", "is_null": True}), Facts(user))


def test_days_count_back_from_as_of_inclusive() -> None:
    predicate = typed({"column": "day", "within_days": 7})
    for day, inside in (
        (dt.date(2026, 6, 23), False),
        (dt.date(2026, 6, 24), True),
        (AS_OF, True),
        (dt.date(2026, 7, 1), False),
    ):
        assert holds(predicate, Facts({"day": day}, as_of=AS_OF)) is inside


def test_a_decimal_is_written_exactly() -> None:
    assert literal(Decimal("0.10")) == "0.10"
    assert literal(Decimal("0.0000001")) == "0.0000001"
