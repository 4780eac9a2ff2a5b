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
# Days on which nobody has a member level (that tag keeps what it was), and one on which most users change.
LOST = (3, 5, 7, 13)
UPHEAVAL = 6
# Days without a build (2, 4); a gap after which the day gone on from is held no longer (7 to 11); an older day filled in (10) or
# built again from other facts (12), from which the next one goes on over days that are held already.
DAYS = (0, 1, 3, 5, 6, 7, 11, 12, 10, 13, 12, 14)
WIDE_DAYS = 4
COMPARED = {
    "int_tags__judged": "* exclude (changed_on)",
    **dict.fromkeys(
        ("int_tags__user_days", "int_tags__versions", "int_tags__day_counts", "int_tags__kept"), "*"
    ),
    **dict.fromkeys(("user_tags", "user_tag_history", "tag_coverage", "int_tags__value_counts"), "*"),
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
            # Every eighth user lives around the bounds; the calendar alone moves few of the others.
            value = f"date '{FIRST}' + version - case when i % 8 = 0 then {back}[1 + ({drawn} % 25)::int] else 1000 end"
        case ValueType.MOMENT:
            value = "timestamp '2026-05-01 12:00:00'"
        case _:
            values = list(column.values or ("a", "it''s", "0", "none"))
            value = f"{values!r}[1 + ({drawn} % {len(values)})::int]".replace('"', "'")
    return f"try_cast(case when {drawn} // 16 % 100 < 70 then {value} end as {column.sql_type})"


def _fill(connection: duckdb.DuckDBPyConnection, project: Project, day: int, edition: int) -> None:
    """What the tag models read on a day: one user in 40 changes, one in thirty is not there."""
    run = connection.execute
    run(f"""
        create or replace temp table people as
        select i, 'u' || i as user_id, cast((
            select max(v) from range({day + 1}) as d(v)
            where v = 0 or hash(i, v) % 40 = 0 or (v = {UPHEAVAL} and i % 2 = 0) or (v = {day} and hash(i, {edition}) % 40 = 1)
        ) as integer) as version
        from range({USERS}) as t(i) where hash(i, {day}, 7) % 30 > 0
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
    run(
        f"update user_wide set member_level = null where {day in LOST} or not regexp_full_match(user_id, 'u.*[05]3')"
    )
    tags = load_tags(project).values()
    parts = []
    for number, tag in enumerate(tag for tag in tags if tag.is_observed):
        values = (
            ["true", "false"] if tag.type is ValueType.BOOLEAN else [*(tag.values or ("a", "b")), "other"]
        )
        weight = f"8 * pow(0.5, ({day} - version) / 2.0)" if tag.spec.interest else "1"
        back = f"case when i % 8 = 1 then (hash(i, version, {number}, 9) % 60)::int else 100 end"
        last_on = f"date '{FIRST}' + version - {back}"
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


@pytest.mark.parametrize(("history_days", "days"), [(1, DAYS[:2]), (3, DAYS)])
def test_forward_equals_anew(project: Project, history_days: int, days: tuple[int, ...]) -> None:
    files = compile_specs(project)
    with duckdb.connect() as one, duckdb.connect() as other:
        # In parts of the users, as under little memory; anew is built at once.
        daily = TagWarehouse(one, files, history_days, WIDE_DAYS, users_per_part=5)
        anew = TagWarehouse(other, files, history_days, WIDE_DAYS)
        paths = set()
        for edition, day in enumerate(days):
            as_of = FIRST + dt.timedelta(days=day)
            for warehouse in (daily, anew):
                _fill(warehouse.connection, project, day, edition)
            # An older day that is filled in is built anew, and the next one goes on from it.
            daily.build(as_of, forward=daily.held is not None and daily.held < as_of)
            anew.build(as_of, forward=False)
            held, expected = _held(one), _held(other)
            for table, rows in expected.items():
                assert held[table] == rows, (edition, day, table)
            judged_since, tags_since = (daily.running[name][1] for name in ("int_tags__judged", "user_tags"))
            paths.add((judged_since is not None, tags_since is not None))
        expected_paths = {(True, True), (False, False)}
        # Built anew because most changed, gone on from a day held, and from one that is held no longer.
        assert paths == (expected_paths | {(True, False)} if history_days > 1 else expected_paths)
        for found in (
            "select 1 from int_tags__kept where tag = 'member_level'",
            "select 1 from user_tag_history where change = 'expired'",
        ):
            assert bool(one.execute(found).fetchall()) == (history_days > 1)
