"""The plan on published marts: differences by mode, guards, holdout, policy, keys; and nothing of a person outside."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.activation.activate import Activation, Outcome
from orchestration.activation.ledger import Ledger
from orchestration.activation.lines import Line, LineField, LineGuard
from orchestration.activation.payload import Keys
from orchestration.activation.plan import PlanError, WarehousePlanner
from orchestration.activation.push import Tools
from orchestration.destinations.errors import OutcomeUnknown
from orchestration.destinations.protocol import Accepted, Batch, Capabilities, Record, Rejected
from orchestration.errors import UsageError
from orchestration.settings import Settings
from tests.activation_support import FakeDestination, FakeSession, Server, line
from tests.places import places
from tests.published_home import Person, publish

PEOPLE = [Person(f"u{i}", f"1380000{i:04}", orders=i) for i in range(1, 9)]
OPEN = LineGuard(None, None)


class Policy:
    """Decides as it is told."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self.now: dict[str, str] = {}

    def held(
        self, session: duckdb.DuckDBPyConnection, line: Line, now: dt.datetime
    ) -> Iterable[tuple[str, str]]:
        users = {row[0] for row in session.execute("select user_id from planned_users").fetchall()}
        return [(user, reason) for user, reason in self.reasons.items() if user in users]

    def refused_now(self, line: Line, users: Sequence[str], now: dt.datetime) -> Mapping[str, str]:
        return {user: self.now[user] for user in users if user in self.now}


class World:
    """A home, a destination that counts, and time."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.line = line(**{"guard": OPEN, "mode": "mirror", **more})
        self.policy = Policy()
        self.server = Server("by_record")
        self.sent: list[Record] = []
        self.settings = Settings()
        self.days = 0
        self.publish(PEOPLE)
        self.ledger = Ledger.open(self.home)

    def publish(self, people: Sequence[Person], version: str = "v1", others: Sequence[Person] = ()) -> None:
        self.home = publish(self.folder, people, version=version, others=others)

    def push(self, **more: Any) -> Outcome:
        keys = Keys(self.home.secret_key())
        planner = WarehousePlanner(
            self.home,
            self.settings,
            self.ledger,
            keys,
            self.policy,
            now=lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=self.days),
        )
        self.activation = Activation(
            self.home,
            lambda one: Tools(
                self.ledger,
                keys,
                lambda users: self.policy.refused_now(one, users, dt.datetime.now(dt.UTC)),
                sleep=lambda _: None,
            ),
            self.ledger,
            planner,
        )
        before = self.server.take

        def take(batch: Batch) -> Any:
            self.sent += batch.records
            return before(batch)

        self.server.take = take  # type: ignore[method-assign]
        try:
            return self.activation.push(self.line, FakeDestination(self.server), **more)
        finally:
            self.server.take = before  # type: ignore[method-assign]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def numbers(outcome: Outcome) -> tuple[int, int, int, int]:
    assert outcome.run
    return outcome.run.added, outcome.run.changed, outcome.run.removed, outcome.run.unchanged


def test_the_difference_of_two_publications(world: World) -> None:
    assert numbers(world.push()) == (8, 0, 0, 0)
    assert world.push().run is None
    changed = [Person("u1", PEOPLE[0].phone, orders=99), *PEOPLE[2:], Person("u9", "13900000000")]
    world.publish(changed, "v2", others=[PEOPLE[1]])
    world.sent.clear()
    assert numbers(world.push()) == (1, 1, 1, 6)
    assert {(one.key, one.operation) for one in world.sent} == {
        ("13800000001", "upsert"),
        ("13900000000", "upsert"),
        ("13800000002", "remove"),
    }
    assert world.push().run is None


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("insert", (1, 0, 0)),
        ("update", (0, 1, 0)),
        ("upsert", (1, 1, 0)),
        ("mirror", (1, 1, 1)),
        ("full", (1, 7, 0)),
    ],
)
def test_modes(tmp_path: Path, mode: str, expected: tuple[int, int, int]) -> None:
    world = World(tmp_path)
    world.push()
    world.line = dataclasses.replace(world.line, mode=mode)  # type: ignore[arg-type]
    world.publish(
        [Person("u1", PEOPLE[0].phone, orders=99), *PEOPLE[2:], Person("u9", "13900000000")],
        "v2",
        [PEOPLE[1]],
    )
    outcome = world.push()
    assert numbers(outcome)[:3] == expected
    assert outcome.run and outcome.run.accepted == sum(expected)


def test_fields_hold_columns_tags_identifiers_and_constants(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        fields=(
            LineField("user", "column", "user_id"),
            LineField("amount", "column", "net_amount"),
            LineField("day", "column", "last_active_date"),
            LineField("moment", "column", "last_seen_at"),
            LineField("power", "tag", "spending_power"),
            LineField("vip", "tag", "vip"),
            LineField("phone", "identifier", "phone"),
            LineField("brand", "value", "Jingxi"),
        ),
    )
    world.publish([Person("u1", "13800000001", tags={"spending_power": "high", "vip": None})])
    world.push()
    (record,) = world.sent
    assert record.fields == {
        "user": "u1",
        "amount": 12.5,
        "day": "2026-06-29",
        "moment": "2026-06-29T10:00:00Z",
        "power": "high",
        "vip": "true",
        "phone": "13800000001",
        "brand": "Jingxi",
    }


def test_held_out_members_and_those_without_the_identifier_are_not_sent(world: World) -> None:
    world.publish([*PEOPLE[:3], Person("u4", None), Person("u5", "13900000005", is_holdout=True)])
    outcome = world.push()
    assert outcome.held_out == 1 and outcome.held_by == {"no_identifier": 1}
    assert outcome.run and (outcome.run.planned, outcome.run.accepted, outcome.run.held) == (4, 3, 1)
    assert {one.key for one in world.sent} == {person.phone for person in PEOPLE[:3]}


def test_the_policy_holds_and_lets_go_again(world: World) -> None:
    world.policy.reasons = {"u3": "cap"}
    outcome = world.push()
    assert outcome.held_by == {"cap": 1} and outcome.run and outcome.run.accepted == 7
    assert world.push().run is None  # the same again says nothing new
    world.policy.reasons = {}
    again = world.push()
    assert again.run and (again.run.planned, again.run.accepted) == (1, 1)
    assert len(world.sent) == 8


def test_who_says_no_is_taken_away_by_a_mirror(world: World) -> None:
    world.push()
    world.sent.clear()
    world.publish(PEOPLE, "v2")
    world.policy.reasons = {"u3": "consent_withdrawn"}
    assert world.push().run is None  # nothing about u3 changed, so the policy was not asked
    world.publish([Person("u3", PEOPLE[2].phone, orders=77), *PEOPLE[:2], *PEOPLE[3:]], "v3")
    outcome = world.push()
    assert outcome.run and outcome.run.removed == 1
    assert [(one.key, one.operation, one.fields) for one in world.sent] == [("13800000003", "remove", {})]


def test_an_empty_audience_never_wipes_by_itself(world: World) -> None:
    world.push()
    calls = world.server.calls
    world.publish([], "v2", others=PEOPLE)
    held = world.push()
    assert held.awaits_approval and held.run and "is empty" in held.run.reason
    assert world.server.calls == calls
    done = world.push(approve=held.run.run_id)
    assert done.run and done.run.accepted == 8 and world.ledger.acknowledged_count(world.line.ledger_key) == 0


def test_an_empty_audience_that_was_never_sent_is_nothing_to_do(world: World) -> None:
    world.publish([])
    assert world.push().run is None and world.server.calls == 0


def test_guards_hold_before_the_first_call(world: World) -> None:
    world.push()
    world.line = dataclasses.replace(world.line, guard=LineGuard(20, 20))
    world.publish(PEOPLE[:5], "v2", others=PEOPLE[5:])
    calls = world.server.calls
    held = world.push()
    assert held.awaits_approval and held.run and world.server.calls == calls
    assert "5 members are 37.5 % fewer than the 8 of 2026-06-30" in held.run.reason
    assert "3 of the 8 that the destination has would be removed" in held.run.reason
    world.publish(PEOPLE, "v3")  # the audience is as it was: nothing is held any more
    assert world.push().run is None
    assert world.ledger.run(held.run.run_id).state == "superseded"


def test_stale_marts_are_held(world: World) -> None:
    world.days = 9
    held = world.push()
    assert held.awaits_approval and held.run and "published 9 days ago" in held.run.reason


def test_a_key_that_two_people_share_or_that_is_blank_is_an_error(world: World) -> None:
    world.publish([Person("u1", "1"), Person("u2", "1"), Person("u3", " ")])
    with pytest.raises(
        PlanError, match="1 members have a blank phone and 1 values of phone belong to several"
    ):
        world.push()
    assert world.server.calls == 0 and world.ledger.runs() == []


def test_what_the_destination_cannot_do_is_said_before(world: World) -> None:
    class Picky(FakeDestination):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(True, False, False, 10, required_fields=frozenset({"content"}))

    with pytest.raises(UsageError, match="add content to its fields"):
        world.push()
        world.activation.push(world.line, Picky(world.server))


def test_dead_letters_go_again_when_they_are_asked_to(world: World) -> None:
    world.server.bad = frozenset({"13800000003"})
    first = world.push()
    assert first.run and first.run.rejected == 1 and first.rejected_by == {"bad_number": 1}
    assert world.push().run is None
    world.server.bad = frozenset()
    again = world.push(retry=True)
    assert again.run and (again.run.planned, again.run.accepted) == (1, 1)


def test_a_dry_run_writes_nothing_and_calls_nothing(world: World) -> None:
    world.push()
    before = {
        file: file.read_bytes()
        for file in world.folder.rglob("*")
        if file.is_file() and "ledger" not in file.name
    }
    runs, calls = world.ledger.runs(), world.server.calls
    world.publish([*PEOPLE[1:], Person("u9", "13900000000")], "v2", others=PEOPLE[:1])
    after = {
        file: file.read_bytes()
        for file in world.folder.rglob("*")
        if file.is_file() and "ledger" not in file.name
    }
    plan = world.activation.dry_run(world.line, FakeDestination(world.server))
    assert (plan.added, plan.changed, plan.removed, plan.unchanged) == (1, 0, 1, 7)
    assert (world.ledger.runs(), world.server.calls) == (runs, calls)
    assert {file: file.read_bytes() for file in after} == after and before.keys() == after.keys()


MARKER = "19912345678"
SECRET = "whsec_" + "s" * 24


class Careless(FakeSession):
    """Says everything that it knows, in every way that it can."""

    def send(self, batch: Batch) -> Any:
        self.server.calls += 1
        if self.server.calls == 1:
            raise OutcomeUnknown(f"{MARKER} {SECRET}")
        if self.server.calls == 2:
            raise ValueError(f"{batch.records[0].key} {MARKER} {SECRET}")
        return [Rejected(f"{MARKER}") if i else Accepted() for i, _ in enumerate(batch.records)]


def test_a_marker_in_every_field_is_found_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    world = World(
        tmp_path, fields=(LineField("value", "tag", "note"), LineField("phone", "identifier", "phone"))
    )
    people = [Person(f"u{i}", f"{MARKER[:-1]}{i}", tags={"note": f"{MARKER} {SECRET}"}) for i in range(6)]
    world.publish(people)
    told: list[str] = []
    destination = FakeDestination(world.server)
    destination.open = lambda run: (told.append(repr(run)), Careless(world.server, run))[1]  # type: ignore[func-returns-value, method-assign]
    world.push()
    world.publish(people, "v2")
    for version in ("v3", "v4", "v5"):
        outcome = world.activation.push(world.line, destination)
        told += [repr(outcome), repr(outcome.to_dict()), repr(world.ledger.runs())]
        world.publish(
            [dataclasses.replace(one, tags={"note": f"{version} {MARKER}"}) for one in people], version
        )
    assert world.server.calls > 3
    # Of the hand-made publication, what the test itself put there.
    mine = {"published/marts.duckdb user_tags.value", "published/private.duckdb user_identifiers.id"}
    held = places(tmp_path, [MARKER[:-1], SECRET])
    # What is in doubt goes again from its payload.
    waiting = {place for place in held if place.startswith("activation/")}
    assert held - waiting == mine
    for text in (*told, caplog.text):
        assert MARKER[:-1] not in text and SECRET not in text
    for run in world.ledger.runs(in_doubt=True):
        world.ledger.decide(run.run_id, sent=False)
    world.push()
    assert places(tmp_path, [MARKER[:-1], SECRET]) == mine, "nothing is left of a run that is over"
    for file in tmp_path.rglob("*.parquet"):
        assert file.stat().st_mode & 0o777 == 0o600
