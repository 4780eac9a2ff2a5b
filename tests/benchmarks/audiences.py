"""Benchmark: overlaps of all pairs of audiences against a self-join, and an audience against the filter written by hand.

    python -m tests.benchmarks --only audiences

A million users, 60 tags, 50 audiences of 1 to 20 % of the users. Overlaps: the macro's form for DuckDB (bit strings) against its
form for any engine (the members joined with themselves). Audience: the compiled SQL of a spec with five conditions, on the wide table and
the tags as the warehouse holds them, against one filter on one table that has all columns side by side; once with conditions on tags, once
with two of them on columns of the wide table. Both sides of a pair make a table of the same rows.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import jinja2

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.compiler import compile_specs
from orchestration.specs.loader import load_project
from tests.benchmarks.results import Measured
from tests.laws.audience_support import pair_counts_sql

OVERLAP_GOAL, FILTER_GOAL = 0.6, 2.0
USERS, AUDIENCES, TAGS, LEVELS = 1_000_000, 50, 50, 10
_REPEATS = 5

_TITLE = "title: {zh: 名, en: Name}"
_AUDIENCE = """\
audience: {name}
title: {{zh: 名, en: Name}}
owner: crm
description: Five conditions.
who:
  all:
    - {{tag: t03}}
    - not: {{tag: t17}}
    - {{tag: level_4, eq: high}}
{more}
"""
_THREE = "t03 and not coalesce(t17, false) and level_4 = 'high'"


@dataclass(frozen=True)
class _Case:
    """An audience of five conditions: as declared, as written by hand."""

    name: str
    label: str
    more: str
    by_hand: str
    goal: float | None


CASES = (
    _Case(
        "on_tags",
        "on tags",
        "    - {tag: t40}\n    - {tag: level_7, in: [high, low]}",
        f"{_THREE} and t40 and level_7 in ('high', 'low')",
        FILTER_GOAL,
    ),
    _Case(
        "on_columns_too",
        "on tags and columns",
        "    - {column: orders_count, gte: 2}\n    - {column: days_since_order, between: [10, 90]}",
        f"{_THREE} and orders_count >= 2 and days_since_order between 10 and 90",
        None,
    ),
)


def measure(small: bool) -> list[Measured]:
    """The ratios for a million users, or for fifty thousand."""
    users = USERS // 20 if small else USERS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
            connection.execute("set memory_limit = '4GB'")
            connection.execute("set preserve_insertion_order = false")
            overlap = _overlap(connection, users)
            _fill(connection, users)
            return [overlap, *(_filter(connection, users, case, folder) for case in CASES)]


def _overlap(connection: duckdb.DuckDBPyConnection, users: int) -> Measured:
    connection.execute(
        f"create or replace table users as select {_user_id('i')} as user_id, i + 1 as user_key from range({users}) as t(i)"
    )
    connection.execute(
        f"""
        create or replace table members as
        select 'audience_number_' || a as audience, {_user_id("i")} as user_id
        from range({users}) as t(i), range({AUDIENCES}) as s(a)
        where hash(i, a) % 1000 < 10 + a * 190 // {AUDIENCES - 1}
        """
    )
    seconds, found = _best(connection, pair_counts_sql("duckdb", "members", "users"))
    yardstick, expected = _best(connection, pair_counts_sql("default", "members", "users"))
    if found != expected:
        raise SystemExit("The two forms of the overlap differ.")
    (rows,) = connection.execute("select count(*) from members").fetchall()
    return Measured(
        f"overlap of {AUDIENCES} audiences, {users:,} users, {rows[0] / 1e6:.1f} M members",
        "members joined with themselves",
        seconds,
        seconds / yardstick,
        OVERLAP_GOAL,
    )


def _fill(connection: duckdb.DuckDBPyConnection, users: int) -> None:
    """One table by hand, and the two that the warehouse has instead."""
    booleans = [f"t{number:02}" for number in range(TAGS)]
    levels = [f"level_{number}" for number in range(LEVELS)]
    values = [
        f"case when hash(i, {n}) % 100 < {20 + n} then true end as {tag}" for n, tag in enumerate(booleans)
    ]
    values += [
        f"case hash(i, {n}, 1) % 4 when 0 then 'high' when 1 then 'middle' when 2 then 'low' end as {tag}"
        for n, tag in enumerate(levels)
    ]
    connection.execute(
        f"""
        create or replace table by_hand as
        select {_user_id("i")} as user_id, hash(i, 7) % 6 as orders_count, cast(hash(i, 8) % 400 as integer) as days_since_order,
            {", ".join(values)}
        from range({users}) as t(i)
        """
    )
    connection.execute(
        "create or replace table user_wide as select user_id, orders_count, days_since_order from by_hand"
    )
    tags = ", ".join(f"{tag} as tag__{tag}" for tag in (*booleans, *levels))
    connection.execute(f"create or replace table int_tags__evaluated as select user_id, {tags} from by_hand")


def _filter(connection: duckdb.DuckDBPyConnection, users: int, case: _Case, folder: Path) -> Measured:
    seconds, found = _best(connection, _compiled(folder / case.name, case))
    yardstick, expected = _best(
        connection,
        f"select '{case.name}' as audience, user_id, cast(null as varchar) as suppressed_by, true as is_member "
        f"from by_hand where {case.by_hand}",
    )
    if found != expected or not found[0]:
        raise SystemExit("The audience and the filter written by hand differ.")
    return Measured(
        f"audience of five conditions {case.label}, {users:,} users × {TAGS + LEVELS} tags",
        "the filter by hand on one wide table",
        seconds,
        seconds / yardstick,
        case.goal,
    )


def _best(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[float, tuple[int, int]]:
    """Seconds of the best of some runs, and what was made: rows and their hash."""
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.perf_counter()
        connection.execute(f"create or replace table made as {sql}")
        best = min(best, time.perf_counter() - started)
    (made,) = connection.execute("select count(*), cast(sum(hash(made)) as varchar) from made").fetchall()
    return best, made


def _user_id(number: str) -> str:
    return f"'u' || left(md5({number}::varchar), 20)"


def _compiled(folder: Path, case: _Case) -> str:
    """SQL of the audience as `jingxi compile` writes it, in a project of its own."""
    columns = {
        column.name: column
        for column in (
            Column("user_id", ValueType.TEXT, "varchar", ""),
            Column("orders_count", ValueType.NUMBER, "bigint", ""),
            Column("days_since_order", ValueType.NUMBER, "integer", ""),
        )
    }
    when = "{column: orders_count, gte: 1}"
    tags = f"family: one\n{_TITLE}\ncategory: consumption\nowner: crm\ntags:\n"
    for number in range(TAGS):
        tags += f"  - {{tag: t{number:02}, {_TITLE}, description: A tag., when: {when}}}\n"
    for number in range(LEVELS):
        cases = ", ".join(
            f"{{value: {value}, {_TITLE}, when: {{column: orders_count, gte: {least}}}}}"
            for value, least in (("high", 5), ("middle", 3), ("low", 1))
        )
        tags += f"  - {{tag: level_{number}, {_TITLE}, description: A tag., cases: [{cases}]}}\n"
    audience = _AUDIENCE.format(name=case.name, more=case.more)
    specs = folder / "dbt_project" / "specs"
    for file, text in (("tags/one.yml", tags), (f"audiences/{case.name}.yml", audience)):
        (specs / file).parent.mkdir(parents=True)
        (specs / file).write_text(text, encoding="utf-8")
    files = compile_specs(load_project(folder / "dbt_project", columns=columns))
    text = next(text for path, text in files.items() if path.endswith("int_audiences__candidates.sql"))
    environment = jinja2.Environment(autoescape=False)
    return environment.from_string(text).render(ref=lambda name: name, dbt={"type_string": lambda: "varchar"})
