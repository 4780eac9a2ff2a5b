"""What a user did, taken from day to day, equals what is built anew, and both equal plain Python.

The models of the moves, last moments, touchpoints and sums of a user are rendered from the project; what is drawn are rows of the
activity stream that come late, are told again and are taken back, and identifiers that go from one user to another.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import duckdb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.laws.model_support import rendered

MODELS = {
    "int_activity__owners": "actor_key",
    "int_activity__last_moments": "actor_key",
    "int_activity__moves": None,
    "int_users__touchpoints": "touchpoint_key",
    "int_users__activity": "owner_key",
}
# activity, touchpoint
KINDS = [
    ("view", "home"),
    ("view", "page"),
    ("view", None),
    ("cart", "page"),
    ("order_paid", None),
    ("touch_sent", None),
    ("touch_delivered", None),
    ("touch_opened", None),
    ("exposure", "home"),
]
PASSIVE = {"touch_sent", "touch_delivered", "exposure"}
USERS = ("a", "b", "c")
IDENTIFIERS = (1, 2, 3, 4)
BEGIN = dt.date(2026, 5, 1)


@dataclass(frozen=True)
class Fact:
    """A row of the stream: of an identifier (a number) or of a user, so many days before the first day that tells it."""

    actor: int | str
    kind: int
    days_ago: int
    hour: int
    session: int | None = None
    message: str | None = None


@dataclass(frozen=True)
class Step:
    """A build: days since the one before, facts that are new, numbers of facts that are taken back, and of those told again,
    identifiers that get another owner (or none)."""

    days: int
    new: tuple[Fact, ...] = ()
    gone: tuple[int, ...] = ()
    again: tuple[int, ...] = ()
    owners: tuple[tuple[int, str | None], ...] = ()


@dataclass
class Row:
    """A version of a fact as the stream holds it."""

    fact: Fact
    occurred_at: dt.datetime
    activity_date: dt.date
    added_on: dt.date
    removed_on: dt.date | None = None


def _happened(fact: Fact, today: dt.date) -> tuple[dt.datetime, dt.date]:
    """The moment in UTC and its business day."""
    day = today - dt.timedelta(days=fact.days_ago)
    local = dt.datetime.combine(day, dt.time(fact.hour))
    return local - dt.timedelta(hours=8), day


class Behaviour:
    """The stream, and the models on it going from day to day (schema `daily`) and built anew (schema `anew`)."""

    def __init__(self) -> None:
        self.connection = duckdb.connect(config={"threads": 1})
        run = self.connection.execute
        run("set TimeZone = 'UTC'")
        for table in ("int_activity__stream", "int_activity__dealings"):
            run(
                f"create table {table} (actor_key ubigint, kind_key ubigint, occurred_at timestamp, activity_date date, "
                "session_key ubigint, touch_id varchar, added_on date, removed_on date)"
            )
        run("create table int_activity__kinds (kind_key ubigint, activity varchar, touchpoint varchar)")
        run("create table passive_activities (activity varchar)")
        run("create table int_identity__users (user_id varchar)")
        run("create table int_identity__lookup (actor_key ubigint, user_id varchar, changed_on date)")
        for number, kind in enumerate(KINDS):
            run("insert into int_activity__kinds values (?, ?, ?)", [number, *kind])
        run("insert into passive_activities select unnest(?)", [sorted(PASSIVE)])
        run("create schema daily; create schema anew")
        self.rows: list[Row] = []
        self.owners: dict[int, str] = {1: "a", 2: "a", 3: "b", 4: "c"}
        self.changed: dict[int, dt.date] = dict.fromkeys(IDENTIFIERS, BEGIN)
        self.today = BEGIN
        self.since: dt.date | None = None

    def take(self, step: Step) -> None:
        """One build of each schema."""
        self.since = self.today if self.rows or self.since else None
        self.today += dt.timedelta(days=step.days)
        standing = [row for row in self.rows if row.removed_on is None]
        told_again = []
        for number in {*step.gone, *step.again}:
            if number < len(standing):
                standing[number].removed_on = self.today
                if number in step.again:
                    told_again.append(replace(standing[number], added_on=self.today, removed_on=None))
        for fact in step.new:
            self.rows.append(Row(fact, *_happened(fact, self.today), self.today))
        self.rows += told_again
        for identifier, owner in step.owners:
            if self.owners.get(identifier) != owner:
                self.changed[identifier] = self.today
            if owner is None:
                self.owners.pop(identifier, None)
            else:
                self.owners[identifier] = owner
        # Only an identifier that nothing names any more has no owner, and a user without identifiers is none.
        for row in [row for row in self.rows if row.fact.actor not in {*self.owners, *self.owners.values()}]:
            if row.added_on == self.today:
                self.rows.remove(row)
            elif row.removed_on is None:
                row.removed_on = self.today
        self._store()
        self._build("daily", self.since)
        self._build("anew", None)

    def _store(self) -> None:
        run = self.connection.execute
        for table, is_dealing in (("int_activity__stream", False), ("int_activity__dealings", True)):
            run(f"delete from {table}")
            for row in self.rows:
                if isinstance(row.fact.actor, str) is is_dealing:
                    fact = row.fact
                    actor = "hash(?)" if is_dealing else "?"
                    run(
                        f"insert into {table} values ({actor}, ?, ?, ?, ?, ?, ?, ?)",
                        [
                            fact.actor,
                            fact.kind,
                            row.occurred_at,
                            row.activity_date,
                            fact.session,
                            fact.message,
                            row.added_on,
                            row.removed_on,
                        ],
                    )
        run("delete from int_identity__lookup")
        for identifier, owner in self.owners.items():
            run(
                "insert into int_identity__lookup values (?, ?, ?)",
                [identifier, owner, self.changed[identifier]],
            )
        run("delete from int_identity__users")
        run("insert into int_identity__users select distinct user_id from int_identity__lookup")

    def _build(self, schema: str, since: dt.date | None) -> None:
        run = self.connection.execute
        run(f"set search_path = '{schema},main'")
        run(f"set variable as_of = date '{self.today}'")
        run(f"set variable since = date '{since or self.today}'")
        for model, key in MODELS.items():
            sql = rendered(model, since is not None, lambda query: bool(run(query).fetchall()))
            if since is None or key is None:
                run(f"create or replace table {schema}.{model} as {sql}")
                continue
            run(f"create or replace temp table delta as {sql}")
            assert run(f"select {key} from delta group by 1 having count(*) > 1").fetchall() == []
            run(f"delete from {schema}.{model} where {key} in (select {key} from delta)")
            run(
                f"insert into {schema}.{model} by name select * exclude (is_gone) from delta where not is_gone"
            )
        run("set search_path = 'main'")

    def same(self) -> None:
        """Asserts that both schemas hold the same."""
        days = f"date '{self.today}' - computed_on"
        told = {
            "int_activity__owners": "* exclude (previous_owner_key, changed_on)",
            "int_activity__last_moments": "*",
            "int_users__touchpoints": "*",
            "int_users__activity": f"* exclude (computed_on) replace (active_days_bits >> ({days})::hugeint as active_days_bits)",
        }
        for model, columns in told.items():
            # Whoever lost its owner stays for one build.
            where = "where owner_key is not null" if model == "int_activity__owners" else ""
            daily, anew = (
                self.connection.execute(
                    f"select {columns} from {schema}.{model} {where} order by all"
                ).fetchall()
                for schema in ("daily", "anew")
            )
            assert daily == anew, model

    def users(self) -> list[dict[str, Any]]:
        """What is held of each user, built anew."""
        told = self.connection.execute("select * from anew.int_users__activity order by user_id")
        names = [name for name, *_ in told.description or ()]
        return [dict(zip(names, row, strict=True)) for row in told.fetchall()]


def told(behaviour: Behaviour) -> dict[str, dict[str, Any]]:
    """The same in plain Python, of each user who has any row that counts."""
    of_users: dict[str, list[Row]] = defaultdict(list)
    for row in behaviour.rows:
        actor = row.fact.actor
        owner = actor if isinstance(actor, str) else behaviour.owners.get(actor)
        if row.removed_on is None and owner is not None:
            of_users[owner].append(row)
    return {user: _told_of(rows, behaviour.today) for user, rows in of_users.items()}


def _told_of(rows: list[Row], today: dt.date) -> dict[str, Any]:
    def within(days: int) -> list[Row]:
        return [row for row in rows if (today - row.activity_date).days < days]

    def activity(row: Row) -> str:
        return KINDS[row.fact.kind][0]

    def count(name: str, days: int) -> int:
        return sum(activity(row) == name for row in within(days))

    own = [row for row in rows if activity(row) not in PASSIVE]
    recent = [row for row in within(90) if activity(row) not in PASSIVE]
    bits, hours, points = 0, [0] * 24, defaultdict(list)
    for row in recent:
        bits |= 1 << (89 - (today - row.activity_date).days)
        hours[row.fact.hour] += 1
        if KINDS[row.fact.kind][1]:
            points[KINDS[row.fact.kind][1]].append(row.activity_date)
    messages: dict[str, set[str]] = defaultdict(set)
    for row in within(90):
        if row.fact.message is not None:
            messages[row.fact.message].add(activity(row))
    delivered = [statuses for statuses in messages.values() if "touch_delivered" in statuses]
    carts = [row.occurred_at for row in rows if activity(row) == "cart"]
    ranked = sorted(points, key=lambda point: (-len(points[point]), -max(points[point]).toordinal(), point))
    return {
        "last_active_date": max((row.activity_date for row in own), default=None),
        "last_cart_at": max(carts, default=None),
        "last_paid_at": max((row.occurred_at for row in rows if activity(row) == "order_paid"), default=None),
        "has_touches": any(activity(row).startswith("touch_") for row in rows),
        **{f"views_count_{days}d": count("view", days) for days in (7, 30, 90)},
        **{f"touches_sent_count_{days}d": count("touch_sent", days) for days in (7, 30, 90)},
        "events_count_90d": len(recent),
        "active_days_bits": bits,
        **{f"hour_{hour}": number for hour, number in enumerate(hours)},
        "usual_hour": hours.index(max(hours)) if recent else None,
        "sessions_count_30d": len({row.fact.session for row in within(30)} - {None}),
        "top_touchpoint_90d": ranked[0] if ranked else None,
        "messages_delivered_count": len(delivered),
        "messages_opened_count": sum("touch_opened" in statuses for statuses in delivered),
    }


def check(steps: tuple[Step, ...]) -> None:
    """Both laws after every build."""
    behaviour = Behaviour()
    for step in steps:
        behaviour.take(step)
        behaviour.same()
        expected = told(behaviour)
        found: Mapping[str, dict[str, Any]] = {row["user_id"]: row for row in behaviour.users()}
        assert found.keys() == expected.keys()
        for user, values in expected.items():
            assert {name: found[user][name] for name in values} == values, user


AGES = st.sampled_from([0, 0, 0, 1, 2, 5, 6, 7, 8, 28, 29, 30, 31, 88, 89, 90, 91, 120])
TRACKED = st.builds(
    Fact,
    st.sampled_from(IDENTIFIERS),
    st.sampled_from([0, 1, 2, 3, 8]),
    AGES,
    st.sampled_from([0, 9, 9, 21]),
    st.sampled_from([None, 1, 2, 3]),
)
MESSAGES = st.builds(
    Fact,
    st.sampled_from(IDENTIFIERS),
    st.sampled_from([5, 6, 7]),
    AGES,
    st.sampled_from([9, 21]),
    st.none(),
    st.sampled_from(["m1", "m2"]),
)
DEALINGS = st.builds(Fact, st.sampled_from(USERS), st.just(4), AGES, st.sampled_from([9, 21]))
NUMBERS = st.lists(st.integers(0, 7), max_size=2).map(tuple)
STEPS = st.builds(
    Step,
    st.sampled_from([1, 1, 1, 2, 7, 30, 91]),
    st.lists(st.one_of(TRACKED, TRACKED, MESSAGES, DEALINGS), max_size=4).map(tuple),
    NUMBERS,
    NUMBERS,
    st.lists(st.tuples(st.sampled_from(IDENTIFIERS), st.sampled_from([None, *USERS])), max_size=1).map(tuple),
)
FIRST = st.builds(
    Step, st.just(1), st.lists(st.one_of(TRACKED, MESSAGES, DEALINGS), min_size=1, max_size=8).map(tuple)
)


# The only cart of an identifier is taken back; the last one, with an earlier one left; the last one, while a late one comes
# that is not as late; the last of a user whose other identifier did the same before; nothing is left.
@example((Step(1, (Fact(1, 3, 2, 9), Fact(1, 0, 3, 9))), Step(1, gone=(0,))))
@example((Step(1, (Fact(1, 3, 2, 9), Fact(1, 3, 40, 9))), Step(1, gone=(0,))))
@example((Step(1, (Fact(1, 3, 2, 9),)), Step(1, (Fact(1, 3, 9, 9),), gone=(0,))))
@example((Step(1, (Fact(1, 3, 2, 9), Fact(2, 3, 40, 9))), Step(1, gone=(0,))))
@example((Step(1, (Fact(1, 3, 2, 9),)), Step(1, gone=(0,))))
# An identifier goes to another user and comes back; it goes to nobody.
@example(
    (
        Step(1, (Fact(1, 0, 0, 9), Fact(2, 3, 0, 9))),
        Step(1, owners=((1, "b"),)),
        Step(1, (Fact(1, 1, 0, 9),), owners=((1, "a"),)),
        Step(1, owners=((1, None),)),
    )
)
# The last activity of a day is taken back while another day's stays, and everything leaves the windows one by one.
@example((Step(1, (Fact(1, 0, 1, 9), Fact(1, 0, 3, 9))), Step(1, gone=(0,)), Step(7), Step(30), Step(91)))
# A session leaves its window, which is shorter than the others of the user.
@example((Step(1, (Fact(1, 2, 0, 9, 1), Fact(1, 2, 1, 9, 2))), Step(28), Step(1), Step(1)))
# A message is told again when only its delivery is left in the window.
@example(
    (
        Step(1, (Fact(1, 6, 0, 9, None, "m1"), Fact(1, 7, 1, 9, None, "m1"))),
        Step(89, again=(0,)),
        Step(1),
        Step(1),
    )
)
@settings(max_examples=30, deadline=None)
@given(st.tuples(FIRST, STEPS, STEPS, STEPS))
def test_a_day_further_is_the_same_as_built_anew(steps: tuple[Step, ...]) -> None:
    check(steps)
