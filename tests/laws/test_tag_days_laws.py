"""Tags taken from day to day equal tags built anew, row by row, whoever changed, came, went or only grew older."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.compiler import compile_specs
from orchestration.specs.kinds import Project
from orchestration.specs.loader import load_project, load_tags
from orchestration.specs.predicates import Pick, counted_column, counted_in
from tests.laws.tag_days_support import TagWarehouse

FIRST = dt.date(2026, 6, 1)
USERS = 200
# Days without a build between them, and days on which nobody has a member level: that tag keeps what it was.
DAYS = (0, 1, 2, 3, 5, 6, 7)
LOST = (3, 5)
COMPARED = {
    "int_tags__judged": "* exclude (changed_on)",
    **dict.fromkeys(("user_tags", "user_tag_history", "int_tags__days", "tag_coverage"), "*"),
    "int_tags__value_counts": "*",
}


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project()


def _value(column: Column, number: int) -> str:
    """A value that stays while the user's version does; days lie around the bounds of the window and of validities."""
    drawn = f"hash(i, {number}, version)"
    match column.type:
        case ValueType.NUMBER:
            value = f"[0, 1, 2, 3, 5, 8, 20, 60, 150, 500][1 + ({drawn} % 10)::int]"
        case ValueType.BOOLEAN:
            value = f"{drawn} % 10 < 3"
        case ValueType.DATE:
            back = "[-4, 0, 1, 2, 3, 40, 41, 50, 51, 60, 61, 70, 71, 84, 88, 90, 200, 201, 202, 300, 301, 302, 360, 363, 366]"
            value = f"date '{FIRST}' + version - {back}[1 + ({drawn} % 25)::int]"
        case ValueType.MOMENT:
            value = "timestamp '2026-05-01 12:00:00'"
        case _:
            values = list(column.values or ("a", "it''s", "0", "none"))
            value = f"{values!r}[1 + ({drawn} % {len(values)})::int]".replace('"', "'")
    return f"try_cast(case when {drawn} // 16 % 100 < 70 then {value} end as {column.sql_type})"


def _fill(connection: duckdb.DuckDBPyConnection, project: Project, day: int) -> None:
    """What the tag models read on a day: a quarter of the users changes, one in twelve is not there."""
    run = connection.execute
    run(f"""
        create or replace temp table people as
        select i, 'u' || i as user_id, cast((select max(v) from range({day + 1}) as d(v) where v = 0 or hash(i, v) % 4 = 0) as integer) as version
        from range({USERS}) as t(i) where hash(i, {day}, 7) % 12 > 0
    """)
    columns = [
        ("user_id" if column.name == "user_id" else _value(column, number)) + f" as {column.name}"
        for number, column in enumerate(project.columns.values())
    ]
    run(f"create or replace table user_wide as select {', '.join(columns)} from people")
    # A first day that lies ahead, and no last one.
    run(
        f"update user_wide set first_order_date = date '{FIRST + dt.timedelta(days=5)}', last_order_date = null "
        "where user_id like '%1'"
    )
    if day in LOST:
        run("update user_wide set member_level = null")
    tags = load_tags(project).values()
    parts = []
    for number, tag in enumerate(tag for tag in tags if tag.is_observed):
        values = (
            ["true", "false"] if tag.type is ValueType.BOOLEAN else [*(tag.values or ("a", "b")), "other"]
        )
        weight = f"8 * pow(0.5, ({day} - version) / 2.0)" if tag.spec.interest else "1"
        last_on = f"date '{FIRST}' + version - (hash(i, version, {number}, 9) % 60)::int"
        parts.append(f"""
            select user_id, '{tag.code}' as tag, {values!r}[1 + (hash(i, version, {number}) % {len(values)})::int] as value,
                1 as place, date '{FIRST + dt.timedelta(days=day)}' < {last_on} + 50 as is_set, {weight} as weight,
                {last_on} - 1 as first_on, {last_on} as last_on, {last_on} + 50 as expires_on,
                1 + version as evidence_count, 'read' as last_activity
            from people where hash(i, version, {number}, 5) % 10 < 6
        """)
    run(f"create or replace table int_tags__observed as {' union all '.join(parts)}")
    asked = {counted_column(q): q for tag in tags for rule in tag.rules for q in counted_in(rule)}
    answers = ["user_id"]
    for number, (name, question) in enumerate(sorted(asked.items())):
        drawn = f"hash(i, version, {number}, 3)"
        said = (
            f"case {drawn} % 3 when 0 then 'skincare' end"
            if isinstance(question, Pick)
            else f"{drawn} % 3 = 0"
        )
        answers.append(f"{said} as {name}")
    run(f"create or replace table int_conditions__evaluated as select {', '.join(answers)} from people")
    for segment in project.segments.values():
        values = list(segment.column.values or ("a", "b"))
        drawn = f"{values!r}[1 + (hash(i, version, '{segment.name}') % {len(values)})::int]"
        run(
            f"create or replace table {segment.table} as select user_id, {drawn} as {segment.column.name} from people"
        )


def _held(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table: connection.execute(f"select {columns} from {table} order by all").fetchall()
        for table, columns in COMPARED.items()
    }


@pytest.mark.parametrize(("history_days", "days"), [(1, DAYS[:3]), (3, DAYS)])
def test_forward_equals_anew(project: Project, history_days: int, days: tuple[int, ...]) -> None:
    with duckdb.connect() as connection:
        warehouse = TagWarehouse(connection, compile_specs(project), history_days)
        rewritten = []
        for day in days:
            _fill(connection, project, day)
            as_of = FIRST + dt.timedelta(days=day)
            warehouse.build(as_of, forward=day > 0)
            forward = _held(connection)
            (row,) = connection.execute(
                "select count(*) filter (where changed_on = ?), count(*) from int_tags__judged", [as_of]
            ).fetchall()
            rewritten.append(row)
            warehouse.build(as_of, forward=False)
            for table, rows in _held(connection).items():
                assert forward[table] == rows, (day, table)
        kept = connection.execute("select count(*) from int_tags__days where kept__member_level is not null")
        assert bool(kept.fetchall()[0][0]) == (history_days > 1)
        expired = connection.execute(
            "select count(*) from user_tag_history where change = 'expired'"
        ).fetchall()
        assert bool(expired[0][0]) == (history_days > 1)
        # Some were left alone on each day.
        assert all(changed < users for changed, users in rewritten[1:])
