"""Stages of users over time: each begins on the day it says, and silence brings the one that is announced."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import jinja2
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws import BUSINESS_TIME

DBT = Path(__file__).parents[2] / "dbt_project"
MACROS = ("add_days", "as_of", "business_date", "days_between", "steady_time")
TODAY = dt.date(2026, 6, 30)

_CONNECTION = duckdb.connect()
_CONNECTION.execute("set threads = 1; set TimeZone = 'UTC'")
_CONNECTION.execute(
    "create table int_identity__users (user_id varchar, first_seen_at timestamp);"
    "create table int_users__behaviour (user_id varchar, last_active_date date);"
    "create table user_order_cycle "
    "(user_id varchar, order_days_count bigint, first_order_date date, second_order_date date)"
)


class _Adapter:
    """Stands for dbt's adapter: finds the DuckDB form of a macro."""

    module: Any = None

    def dispatch(self, name: str) -> Any:
        return getattr(self.module, f"duckdb__{name}")


def render(bounds: tuple[int, int, int]) -> str:
    """SQL of int_users__stages, for DuckDB, with the days of new, dormant and lost."""
    names = ("lifecycle_new_days", "lifecycle_dormant_days", "lifecycle_lost_days")
    variables = {**BUSINESS_TIME, **dict(zip(names, bounds, strict=True))}
    adapter = _Adapter()
    environment = jinja2.Environment(autoescape=False)
    environment.globals.update(
        adapter=adapter,
        var=variables.__getitem__,
        ref=lambda name: name,
        **{"return": lambda value: value},
    )
    text = "".join((DBT / "macros" / f"{name}.sql").read_text() for name in MACROS)
    adapter.module = environment.from_string(text).module
    environment.globals.update({name: getattr(adapter.module, name) for name in MACROS})
    model = DBT / "models/intermediate/users/int_users__stages.sql"
    return environment.from_string(model.read_text()).render()


@dataclass(frozen=True)
class Person:
    """Days before TODAY: first sight, and on or after it days with an activity and days with an order."""

    seen: int
    active: tuple[int, ...]
    ordered: tuple[int, ...]


def stages(person: Person, as_of: dt.date, sql: str) -> dict[str, Any]:
    """The person's row as of a day; what happens after it does not exist."""

    def days(backs: tuple[int, ...]) -> list[dt.date]:
        return sorted({day for back in backs if (day := TODAY - dt.timedelta(days=back)) <= as_of})

    run = _CONNECTION.execute
    for table in ("int_identity__users", "int_users__behaviour", "user_order_cycle"):
        run(f"delete from {table}")
    seen = dt.datetime.combine(TODAY - dt.timedelta(days=person.seen), dt.time(4))
    run("insert into int_identity__users values ('u', ?)", [seen])
    if active := days(person.active):
        run("insert into int_users__behaviour values ('u', ?)", [active[-1]])
    if ordered := days(person.ordered):
        second = ordered[1] if len(ordered) > 1 else None
        run("insert into user_order_cycle values ('u', ?, ?, ?)", [len(ordered), ordered[0], second])
    run(f"set variable as_of = date '{as_of}'")
    found = run(sql)
    names = [column[0] for column in found.description]
    (row,) = found.fetchall()
    return dict(zip(names, row, strict=True))


@st.composite
def people(draw: st.DrawFn) -> Person:
    seen = draw(st.integers(0, 60))
    backs = st.lists(st.integers(0, seen), max_size=4).map(tuple)
    return Person(seen, draw(backs), draw(backs))


bounds = st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)).map(
    lambda days: (days[0], days[1], days[1] + days[2])
)


@settings(max_examples=80, deadline=None)
@given(people(), bounds)
def test_silence_brings_the_stage_that_is_announced(person: Person, days: tuple[int, int, int]) -> None:
    sql = render(days)
    row = stages(person, TODAY, sql)
    assert row["activity_stage"] in ("new", "active", "dormant", "lost")
    while row["next_activity_date"] is not None:
        day = row["next_activity_date"]
        before = stages(person, day - dt.timedelta(days=1), sql)
        assert before["activity_stage"] == row["activity_stage"]
        after = stages(person, day, sql)
        assert after["activity_stage"] == row["next_activity_stage"]
        assert after["activity_since_date"] in (day, None)
        row = after
    assert row["activity_stage"] == "lost"


@settings(max_examples=80, deadline=None)
@given(people(), bounds)
def test_a_stage_begins_on_the_day_it_says(person: Person, days: tuple[int, int, int]) -> None:
    sql = render(days)
    row = stages(person, TODAY, sql)
    since = row["lifecycle_since_date"]
    assert stages(person, since, sql)["lifecycle_stage"] == row["lifecycle_stage"]
    if since > TODAY - dt.timedelta(days=person.seen):
        before = stages(person, since - dt.timedelta(days=1), sql)
        assert before["lifecycle_stage"] != row["lifecycle_stage"]
    if row["activity_since_date"] is not None:
        # What was done since then would have ended the stage.
        assert stages(person, row["activity_since_date"], sql)["activity_stage"] == row["activity_stage"]
