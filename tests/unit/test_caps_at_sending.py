"""Nobody gets more messages than a cap allows, however many lines, builds and pushes a day has: counted at the door."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.activation.activate import Activation
from orchestration.activation.caps import NewestMessages
from orchestration.activation.contact_policy import contact_policy
from orchestration.activation.ledger import Ledger, NewRecord, NewRun, Settlement
from orchestration.activation.lines import Line
from orchestration.activation.payload import Keys
from orchestration.activation.push import Tools
from orchestration.specs.contact_rules import ContactCap, read_contact_caps
from tests.activation_support import KEYS, ListPlanner, balances, engine, line, quick_ledger
from tests.unit.published_support import NOW, PublishedHome

USERS = ("ua", "ub", "uc")
PHONES = {user: f"1380000000{number}" for number, user in enumerate(USERS, start=1)}
SPRING = line(activation="spring_sms", destination="fake")
SUMMER = line(activation="summer_sms", destination="fake")
MAILS = line(activation="mails", destination="fake", channel="email", key="user_id")
BILLS = line(activation="bills", destination="fake", purpose="service")
TAGS = line(activation="some_tags", destination="fake", channel="tags", purpose="service")
LINES = (SPRING, SUMMER, MAILS, BILLS, TAGS)
TOUCHES = "touch_id,id_type,id,channel,status,occurred_at"
State = Literal["accepted", "in_doubt", "sending", "rejected"]


class Door:
    """A published home, a ledger whose clock is set, and who is refused."""

    def __init__(self, path: Path) -> None:
        people = {user: {"phone": phone, "contact_id": f"w-{user}"} for user, phone in PHONES.items()}
        self.place = PublishedHome(path, people)
        self.keys = Keys(self.place.home.secret_key())
        self.begin()

    def begin(self) -> None:
        """An empty ledger."""
        self.now = NOW
        self.ledger = Ledger(quick_ledger()._engine, now=lambda: self.now)
        self.runs = 0
        self.policy = contact_policy(self.place.home, self.place.settings, ledger=self.ledger, lines=LINES)

    def send(
        self, own: Line, users: Sequence[str], at: dt.datetime = NOW, state: State = "accepted"
    ) -> list[str]:
        """What the ledger knows after a push; the ids of its deliveries."""
        self.now, self.runs = at, self.runs + 1
        name = f"r{self.runs}"
        hashes = [self.keys.of_key(own.key, user if own.key == "user_id" else PHONES[user]) for user in users]
        new = NewRun(name, own.ledger_key, "winback", "upsert", "v1", at.date(), len(users), 0, 0, 0, 0)
        records = [NewRecord(n, key, "row", "upsert") for n, key in enumerate(hashes)]
        run = self.ledger.create_run(new, records)
        self.ledger.set_state(name, "running")
        self.ledger.begin(name, range(len(users)), 1)
        if state != "sending":
            self.ledger.settle(run, [Settlement(n, state) for n in range(len(users))])
            self.ledger.close(name, "finished")
        return [f"push:{name}:{n}" for n in range(len(users))]

    def refused(self, own: Line, at: dt.datetime = NOW) -> Mapping[str, str]:
        return self.policy.refused_now(own, USERS, at)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path / "home")


def days(number: int) -> dt.timedelta:
    return dt.timedelta(days=number)


def test_what_another_line_sent_today_fills_the_day(door: Door) -> None:
    assert door.refused(SUMMER) == {}
    door.send(SPRING, ["ua", "ub"])
    assert door.refused(SUMMER) == {"ua": "cap", "ub": "cap"}
    assert door.refused(SPRING) == {"ua": "cap", "ub": "cap"}, "and for the line itself, of another build"
    assert door.refused(SUMMER, NOW + days(1)) == {}
    assert door.refused(BILLS) == {}, "service messages have no cap by the bundled rules"
    assert door.refused(TAGS) == {}, "nobody notices a tag"


def test_the_day_is_the_business_day(door: Door) -> None:
    midnight = dt.datetime(2026, 6, 30, 16, tzinfo=dt.UTC)  # in Shanghai
    door.send(SPRING, ["ua"], midnight - dt.timedelta(seconds=1))
    door.send(SPRING, ["ub"], midnight)
    assert door.refused(SUMMER) == {"ub": "cap"}


def test_service_messages_and_other_channels_take_places_of_all(door: Door) -> None:
    door.send(BILLS, ["ua", "ub"])
    assert door.refused(MAILS) == {}
    door.send(SPRING, ["ua"])
    assert door.refused(MAILS) == {"ua": "cap"}, "two a day over all channels"
    door.send(MAILS, ["ub"])
    assert door.refused(MAILS) == {"ua": "cap", "ub": "cap"}
    door.send(TAGS, ["uc"])
    door.send(TAGS, ["uc"])
    assert "uc" not in door.refused(SPRING)


@pytest.mark.parametrize("state", ["in_doubt", "sending"])
def test_what_may_have_arrived_counts_for_others_and_not_for_its_own_replay(door: Door, state: State) -> None:
    door.send(SPRING, ["ua"], state=state)
    assert door.refused(SUMMER) == {"ua": "cap"}
    assert door.refused(SPRING) == {}
    door.send(SUMMER, ["ub"], state="rejected")
    assert door.refused(SPRING) == {}


@pytest.mark.parametrize("is_taken_in", [False, True])
def test_a_message_that_came_back_is_the_one_that_the_ledger_knows(door: Door, *, is_taken_in: bool) -> None:
    touches = [door.send(SPRING, ["ua"], NOW - days(ago))[0] for ago in (4, 6, 8)]
    rows = [f"{one},phone,{PHONES['ua']},sms,sent,2026-06-2{n}T08:00:00" for n, one in enumerate(touches)]
    door.place.land("touches/dt=2026-07-01/back.csv", TOUCHES, *rows)
    if is_taken_in:
        door.place.take()
    assert door.refused(SUMMER) == {}, "three of four in thirty days"
    door.place.land(
        "touches/dt=2026-07-01/other.csv",
        TOUCHES,
        f"other-system,phone,{PHONES['ua']},sms,delivered,2026-06-20T08:00:00",
    )
    assert door.refused(SUMMER) == {"ua": "cap"}, "what another system sent counts too"
    door.place.land(
        "touches/dt=2026-07-01/z.csv",
        TOUCHES,
        f"{touches[0]},phone,{PHONES['ua']},sms,failed,2026-06-28T08:00:00",
        f"{touches[1]},phone,{PHONES['ua']},sms,opened,2026-06-30T08:00:00",
    )
    assert door.refused(SUMMER) == {"ua": "cap"}, "what was proved to be sent stays sent"


def test_a_planned_message_that_failed_gives_its_place_back(door: Door) -> None:
    (touch,) = door.send(SPRING, ["ua"])
    door.place.land(
        "touches/dt=2026-07-01/a.csv",
        TOUCHES,
        f"{touch},phone,{PHONES['ua']},sms,failed,2026-07-01T01:00:00",
    )
    assert door.refused(SUMMER) == {}


def test_nothing_is_counted_again_while_nothing_is_sent(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[object] = []
    count = NewestMessages._count

    def counting(*own: Any) -> Mapping[str, str]:
        counted.append(own)
        return count(*own)

    monkeypatch.setattr(NewestMessages, "_count", counting)
    for _ in range(20):
        assert door.refused(SUMMER) == {}
    assert len(counted) == 1
    door.send(SPRING, ["ua"], state="sending")  # by another process, at this moment
    assert door.refused(SUMMER) == {"ua": "cap"} and len(counted) == 2


Sending = tuple[Line, str, int, State]
SENDINGS = st.lists(
    st.tuples(
        st.sampled_from(LINES),
        st.sampled_from(USERS),
        st.integers(0, 40),
        st.sampled_from(("accepted", "in_doubt", "rejected")),
    ),
    max_size=14,
)


def expected(sendings: Iterable[Sending], own: Line, caps: Iterable[ContactCap]) -> set[str]:
    """Who has no place left, one message after the other."""
    today = dt.date(2026, 7, 1)
    full = set()
    for cap in caps:
        if not cap.holds_for(own.channel, own.purpose):
            continue
        used = Counter(
            user
            for by, user, ago, state in sendings
            if by is not TAGS
            and cap.channel in (by.channel, "*")
            and today - days(ago) >= cap.first_day(today)
            and (state == "accepted" or (state == "in_doubt" and by is not own))
        )
        full |= {user for user, sends in used.items() if sends >= cap.limit(today)}
    return full


@pytest.fixture(scope="module")
def one_door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("door") / "home")


@settings(max_examples=20)
@given(sendings=SENDINGS, own=st.sampled_from((SPRING, MAILS)))
def test_places_are_counted_as_one_after_the_other(
    one_door: Door, sendings: list[Sending], own: Line
) -> None:
    one_door.begin()
    for by, user, ago, state in sendings:
        one_door.send(by, [user], NOW - days(ago), state)
    assert set(one_door.refused(own)) == expected(sendings, own, read_contact_caps())


def test_two_lines_and_two_builds_of_a_day_reach_everybody_once(tmp_path: Path) -> None:
    """Counted at the destination, through the whole engine."""
    people = dict.fromkeys(PHONES.values(), "1")
    now = [NOW]
    ledger = Ledger(quick_ledger()._engine, now=lambda: now[0])
    one = engine(tmp_path / "home", "by_record", people, ledger)
    place = PublishedHome(one.home.path, {user: {"phone": phone} for user, phone in PHONES.items()})
    place.home.secret_key_file.write_text((b"k" * 32).hex())  # as the planner of the test has it
    user_of = {f"user-{phone}": user for user, phone in PHONES.items()}
    policy = contact_policy(place.home, place.settings, ledger=ledger, lines=LINES)
    place.add("user_identities", [(user, "phone", KEYS.of_key("phone", PHONES[user])) for user in USERS])

    def tools(own: Line) -> Tools:
        def refused_now(users: Sequence[str]) -> Mapping[str, str]:
            found = policy.refused_now(own, [user_of[user] for user in users], now[0])
            return {user: found[user_of[user]] for user in users if user_of[user] in found}

        return replace(one.tools(own), refused_now=refused_now)

    def push(own: Line, version: str, value: str) -> Counter[str]:
        planner = ListPlanner(ledger, dict.fromkeys(people, value), version=version)
        Activation(one.home, tools, ledger, planner, one.payload).push(own, one.destination)
        return Counter(key for key, _ in one.server.effects().elements())

    once = Counter(people.keys())
    assert push(SPRING, "v1", "a") == once
    assert push(SUMMER, "v1", "a") == once, "another line, the same publication"
    assert push(SPRING, "v2", "b") == once, "the same line, another build of the day"
    assert push(SUMMER, "v2", "b") == once
    assert {run.held for run in ledger.runs(SUMMER.ledger_key)} == {3}
    now[0] += days(1)
    assert push(SUMMER, "v3", "b") == once + once
    assert push(SPRING, "v3", "b") == once + once
    assert all(balances(ledger))
