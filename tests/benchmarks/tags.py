"""Benchmark: the tags of a day, by how many users changed, against tags built anew.

    python -m tests.benchmarks --only tags

A million users with the tags that are shipped (more than sixty). Models are those that `jingxi compile` writes, from judging the rules to the
tables that people read; the wide table, answers of activities and weights of interests are there before. CPU seconds of the process, because
other work on the machine must not count. Yardstick: the same day, with the same changes, built anew in a copy of the warehouse. What does not
follow the users who changed: one pass over the rules, the days on which tags are confirmed and first set, and the search for rows to replace.
"""

from __future__ import annotations

import copy
import datetime as dt
import resource
import shutil
import tempfile
from pathlib import Path

import duckdb

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.compiler import compile_specs
from orchestration.specs.kinds import Project
from orchestration.specs.loader import load_project, load_tags
from orchestration.specs.predicates import Pick, counted_column, counted_in
from orchestration.warehouse.session import users_per_part
from tests.benchmarks.results import Measured
from tests.laws.tag_days_support import TagWarehouse

FIRST = dt.date(2026, 6, 1)
USERS = 1_000_000
MEMORY_LIMIT = "2500MB"
_CHANGED = "orders_count", "views_count_30d", "active_days_30d", "net_amount_365d"
# Percent of users who changed → part of building anew.
_GOALS = {1: 0.4, 10: 0.8, 100: 1.15}


def measure(small: bool) -> list[Measured]:
    """CPU of a day with 1, 10 and 100 % changed users, each as a part of building that day anew."""
    users = USERS // 20 if small else USERS
    project = load_project()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        held, other = Path(folder) / "tags.duckdb", Path(folder) / "other.duckdb"
        with _open(held) as connection:
            _fill(connection, project, users)
            warehouse = TagWarehouse(
                connection, compile_specs(project), users_per_part=users_per_part(MEMORY_LIMIT)
            )
            for number in range(2):
                warehouse.build(FIRST + dt.timedelta(days=number), forward=False)
        for number, (percent, goal) in enumerate(_GOALS.items(), start=2):
            shutil.copyfile(held, other)
            (anew, _), (seconds, set_tags) = (
                _day(warehouse, file, FIRST + dt.timedelta(days=number), percent, forward=forward)
                for file, forward in ((other, False), (held, True))
            )
            what = f"{users:,} users × {len(load_tags(project))} tags, {set_tags / 1e6:.1f} M of them set"
            said = f"tags of a day, {percent} % of users changed, {what}"
            results.append(
                Measured(
                    said,
                    f"that day built anew ({anew:.0f} s)",
                    seconds,
                    seconds / anew,
                    goal,
                    measure="CPU",
                    peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
                )
            )
    return results


def _open(file: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(file))
    connection.execute(
        f"set TimeZone = 'UTC'; set threads = 2; set memory_limit = '{MEMORY_LIMIT}'; set preserve_insertion_order = false"
    )
    return connection


def _day(
    warehouse: TagWarehouse, file: Path, as_of: dt.date, percent: int, *, forward: bool
) -> tuple[float, int]:
    """CPU seconds of one more day in a warehouse, closing its file included, and how many tags are set then.

    Built anew the warehouse stays at the day before, for the file that goes on from there."""
    before = copy.deepcopy((warehouse.held, warehouse.running))
    with _open(file) as connection:
        _change(connection, percent, as_of)
        connection.execute("checkpoint")
        warehouse.connection = connection
        started = _cpu()
        warehouse.build(as_of, forward=forward)
        connection.execute("checkpoint")
        seconds = _cpu() - started
        ((set_tags,),) = connection.execute("select count(*) from user_tags").fetchall()
    if not forward:
        warehouse.held, warehouse.running = before
    return seconds, set_tags


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _change(connection: duckdb.DuckDBPyConnection, percent: int, as_of: dt.date) -> None:
    """Some users were active on the day."""
    moved = ", ".join(f"{name} = coalesce({name}, 0) + 1" for name in _CHANGED)
    moved += f", last_active_date = date '{as_of}'"
    connection.execute(f"update user_wide set {moved} where hash(user_id, {percent}) % 100 < {percent}")


def _fill(connection: duckdb.DuckDBPyConnection, project: Project, users: int) -> None:
    """Random users: of each column two in three know a value; an interest or answer of each kind has one in five."""
    run = connection.execute
    columns = [
        (_USER if column.name == "user_id" else _value(column, number)) + f" as {column.name}"
        for number, column in enumerate(project.columns.values())
    ]
    run(f"create table user_wide as select {', '.join(columns)} from range({users}) as t(i)")
    tags = load_tags(project).values()
    parts = []
    for number, tag in enumerate(tag for tag in tags if tag.is_observed):
        values = ["true"] if tag.type is ValueType.BOOLEAN else [*(tag.values or ("a", "b", "c"))]
        last_on = f"date '{FIRST}' - (hash(i, {number}, 9) % 60)::int"
        parts.append(f"""
            select {_USER} as user_id, '{tag.code}' as tag, {values!r}[1 + (hash(i, {number}) % {len(values)})::int] as value,
                1 as place, true as is_set, 4.0::double as weight, {last_on} as first_on, {last_on} as last_on,
                {last_on} + 90 as expires_on, 3::bigint as evidence_count, 'read' as last_activity
            from range({users}) as t(i) where hash(i, {number}, 5) % 5 = 0
        """)
    run(f"create table int_tags__observed as {' union all '.join(parts)}")
    asked = {counted_column(q): q for tag in tags for rule in tag.rules for q in counted_in(rule)}
    answers = ["user_id"]
    for name, question in sorted(asked.items()):
        drawn = f"hash(user_id, '{name}') % 5 = 0"
        answers.append(
            (f"case when {drawn} then 'skincare' end" if isinstance(question, Pick) else drawn)
            + f" as {name}"
        )
    run(f"create table int_conditions__evaluated as select {', '.join(answers)} from user_wide")
    for table in sorted({segment.table for segment in project.segments.values()}):
        answers = ["user_id"]
        for segment in project.segments.values():
            if segment.table == table:
                values = list(segment.column.values or ("a", "b"))
                draw = f"{values!r}[1 + (hash(user_id, '{segment.name}') % {len(values)})::int]"
                answers.append(f"{draw} as {segment.column.name}")
        run(f"create table {table} as select {', '.join(answers)} from user_wide")


_USER = "'u' || left(md5(i::varchar), 20)"


def _value(column: Column, number: int) -> str:
    drawn = f"hash(i, {number})"
    match column.type:
        case ValueType.NUMBER:
            value = f"[0, 1, 2, 3, 5, 8, 20, 60, 150, 500][1 + ({drawn} % 10)::int]"
        case ValueType.BOOLEAN:
            value = f"{drawn} % 10 < 2"
        case ValueType.DATE:
            value = f"date '{FIRST}' - ({drawn} % 500)::int"
        case ValueType.MOMENT:
            value = "timestamp '2026-05-01 12:00:00'"
        case _:
            values = list(column.values or ("a", "b", "0", "none"))
            value = f"{values!r}[1 + ({drawn} % {len(values)})::int]".replace('"', "'")
    return f"try_cast(case when {drawn} // 16 % 3 > 0 then {value} end as {column.sql_type})"
