"""AIPL stages equal a label per day in plain Python: since when, what was before, until when, what comes next."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws import BUSINESS_TIME

PROJECT = Path(__file__).parents[2]
DBT = PROJECT / "dbt_project"
MACROS = (
    "add_days",
    "aipl_stage_name",
    "as_of",
    "business_date",
    "day_start",
    "days_between",
    "happened",
    "inline",
    "row_hash",
    "standing_facts",
    "steady_time",
)
TODAY = dt.date(2026, 6, 30)
STAGES = ("none", "aware", "interest", "purchase", "loyalty")
SINCE_DAYS = 40

_CONNECTION = duckdb.connect()
_CONNECTION.execute("set threads = 1; set TimeZone = 'UTC'")
_CONNECTION.execute(
    f"""
    set variable as_of = date '{TODAY}';
    create table int_identity__users (user_id varchar, first_seen_at timestamp);
    create table int_activity__stream
        (actor_key ubigint, kind_key varchar, activity_date date, removed_on date);
    create table int_activity__dealings as from int_activity__stream;
    create table int_activity__kinds (kind_key varchar, activity varchar);
    create table int_activity__owners as select 7::ubigint as actor_key, hash('u') as owner_key;
    create table int_users__contacts (user_id varchar, added_date date, deleted_at timestamp);
    create table int_users__profile (user_id varchar, is_member boolean, member_registered_date date);
    create table stg_raw__group_memberships (id_type varchar, id varchar, joined_at timestamp, left_at timestamp);
    create table int_identity__lookup (id_type varchar, id varchar, user_id varchar);
    create table int_orders__resolved
        (user_id varchar, ordered_date date, is_paid boolean, is_fully_refunded boolean);
    create table segment_names as from read_csv('{PROJECT / "seeds/reference/segment_names.csv"}');
    create table aipl_behaviours as from read_csv(
        '{PROJECT / "seeds/rules/aipl_behaviours.csv"}', types = {{'window_days': 'integer'}}
    );
    insert into int_identity__lookup values ('openid', 'o', 'u');
    insert into int_activity__kinds select distinct behaviour || channel, behaviour
    from aipl_behaviours cross join (values (''), ('_app')) as channels(channel);
    """
)
with (PROJECT / "seeds/rules/aipl_behaviours.csv").open() as _file:
    BEHAVIOURS = list(csv.DictReader(_file))


class _Adapter:
    """Stands for dbt's adapter: finds the DuckDB form of a macro."""

    module: Any = None

    def dispatch(self, name: str) -> Any:
        return getattr(self.module, f"duckdb__{name}")


def render() -> str:
    """SQL of user_aipl, for DuckDB."""
    variables = {**BUSINESS_TIME, "aipl_since_days": SINCE_DAYS}
    adapter = _Adapter()
    environment = jinja2.Environment(autoescape=False)
    environment.globals.update(
        adapter=adapter,
        var=variables.__getitem__,
        ref=lambda name: name,
        dbt=type("Types", (), {"type_string": staticmethod(lambda: "varchar")}),
        **{"return": lambda value: value},
    )
    text = "".join((DBT / "macros" / f"{name}.sql").read_text() for name in MACROS)
    adapter.module = environment.from_string(text).module
    environment.globals.update({name: getattr(adapter.module, name) for name in MACROS})
    return environment.from_string((DBT / "models/marts/segments/user_aipl.sql").read_text()).render()


SQL = render()


@pytest.fixture(autouse=True, scope="module")
def _close() -> Iterator[None]:
    yield
    _CONNECTION.close()


@dataclass(frozen=True)
class Person:
    """Days before TODAY. A relation is (begin, end), the end not after TODAY or none."""

    seen: int
    activities: tuple[tuple[str, int], ...]
    orders: tuple[int, ...]
    contact: tuple[int, int | None] | None
    group: tuple[int, int | None] | None
    member: int | None


def ago(back: int) -> dt.date:
    return TODAY - dt.timedelta(days=back)


def noon(back: int) -> dt.datetime:
    return dt.datetime.combine(ago(back), dt.time(4))


def label(person: Person, day: dt.date) -> str:
    """The stage on a day, of what happened until then and until TODAY; later days are silent."""
    back = (TODAY - day).days

    def stands(relation: tuple[int, int | None] | None) -> bool:
        if relation is None:
            return False
        begin, end = relation
        return back <= begin and (end is None or back > end)

    standing = {
        "contact": stands(person.contact),
        "group": stands(person.group),
        "member": stands(None if person.member is None else (person.member, None)),
    }
    found = "none"
    for rule in BEHAVIOURS:
        window = int(rule["window_days"]) if rule["window_days"] else 10**6
        if rule["kind"] == "standing":
            holds = standing[rule["behaviour"]]
        elif rule["kind"] == "orders":
            holds = len({o for o in person.orders if 0 <= o - back < window}) >= int(rule["least_days"])
        else:
            holds = any(
                name == rule["behaviour"] and 0 <= happened - back < window
                for name, happened in person.activities
            )
        if holds and STAGES.index(rule["stage"]) > STAGES.index(found):
            found = rule["stage"]
    return found


def row_of(person: Person) -> dict[str, Any]:
    run = _CONNECTION.execute
    for table in (
        *("int_identity__users", "int_activity__stream", "int_activity__dealings", "int_users__contacts"),
        *("int_users__profile", "stg_raw__group_memberships", "int_orders__resolved"),
    ):
        run(f"delete from {table}")
    run("insert into int_identity__users values ('u', ?)", [noon(person.seen)])
    for number, (name, back) in enumerate(person.activities):
        table = "int_activity__dealings" if name == "referral_invited" else "int_activity__stream"
        kind = f"{name}{'_app' if number % 2 else ''}"
        values = [kind, ago(back), name, TODAY, TODAY]
        run(f"insert into {table} values (7, ?, ?, null), (7, ?, ?, ?)", values)
    for back in person.orders:
        run("insert into int_orders__resolved values ('u', ?, true, false)", [ago(back)])
    if person.contact:
        begin, end = person.contact
        run(
            "insert into int_users__contacts values ('u', ?, ?)",
            [ago(begin), None if end is None else noon(end)],
        )
    if person.group:
        begin, end = person.group
        run(
            "insert into stg_raw__group_memberships values ('openid', 'o', ?, ?)",
            [noon(begin), None if end is None else noon(end)],
        )
    member_on = None if person.member is None else ago(person.member)
    run("insert into int_users__profile values ('u', ?, ?)", [person.member is not None, member_on])
    found = run(SQL)
    names = [column[0] for column in found.description]
    (row,) = found.fetchall()
    return dict(zip(names, row, strict=True))


@st.composite
def people(draw: st.DrawFn) -> Person:
    seen = draw(st.sampled_from([0, 5, 30, 39, 40, 41, 60, 800]))
    back = st.integers(0, min(seen, 70))
    long_back = st.integers(0, seen)

    def relation() -> tuple[int, int | None] | None:
        if draw(st.booleans()):
            return None
        begin = draw(back)
        return begin, draw(st.one_of(st.none(), st.integers(0, begin)))

    names = st.sampled_from(["exposure", "view", "search", "cart", "follow", "referral_invited", "unknown"])
    return Person(
        seen,
        tuple(draw(st.lists(st.tuples(names, back), max_size=5))),
        tuple(draw(st.lists(long_back, max_size=3))),
        relation(),
        relation(),
        draw(st.one_of(st.none(), st.none(), back)),
    )


@settings(max_examples=80, deadline=None)
@given(person=people())
def test_equals_a_label_per_day(person: Person) -> None:
    row = row_of(person)
    stage = label(person, TODAY)
    assert row["aipl_stage"] == stage

    since = TODAY
    while since > ago(person.seen) and label(person, since - dt.timedelta(days=1)) == stage:
        since -= dt.timedelta(days=1)
    horizon = TODAY - dt.timedelta(days=SINCE_DAYS)
    assert row["is_since_known"] == (since > horizon or stage in ("purchase", "loyalty"))
    assert row["since_date"] == (since if row["is_since_known"] else horizon)
    assert row["days_in_stage"] == (TODAY - row["since_date"]).days
    before = None
    if since > horizon and since > ago(person.seen):
        before = label(person, since - dt.timedelta(days=1))
        assert before != stage
    assert row["previous_stage"] == before

    until = TODAY
    while (until - TODAY).days < 1000 and label(person, until + dt.timedelta(days=1)) == stage:
        until += dt.timedelta(days=1)
    if (until - TODAY).days == 1000:
        assert row["until_date"] is None
        assert row["next_stage"] is None
    else:
        assert row["until_date"] == until
        assert row["next_stage"] == label(person, until + dt.timedelta(days=1))
