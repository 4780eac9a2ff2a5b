"""The engine and the real destinations against the fake servers, under random faults and crashes.

Counted at the far side: everybody is reached once, nobody twice, and every run accounts for every record.
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestration.activation.crash_points import CRASH_POINTS, CrashPoint
from orchestration.destinations.protocol import Batch, Destination, RunInfo, Session
from tests.activation_support import Crash, Engine, balances, engine, line
from tests.fakes.receiver import FakeReceiver
from tests.fakes.server import (
    RESET_AFTER,
    RESET_BEFORE,
    SERVER_ERROR,
    SERVER_ERROR_AFTER,
    FakeServer,
    Fault,
    ScaledClock,
)
from tests.fakes.sms import FakeSms
from tests.fakes.wecom import FakeWeCom
from tests.unit.destination_support import build_in

PEOPLE = [f"138{n:08d}" for n in range(25)]
LOST = [RESET_BEFORE, RESET_AFTER, SERVER_ERROR, SERVER_ERROR_AFTER]


def answers(*codes: int, applied: bool = False) -> list[Fault]:
    return [Fault("answer", applied=applied, body={"errcode": code}) for code in codes]


WECOM_FAULTS = [*LOST, *answers(-1, 6000, 45009, 45033, 40014, 42001), *answers(-1, applied=True)]
SMS_FAULTS = [*LOST, Fault("answer", body={"Code": "Throttling.User"})]
WEBHOOK_FAULTS = [*LOST, Fault("http", status=429, headers={"Retry-After": "1"}), Fault("http", status=504)]


class Renamed:
    """The destination with the test's one field under another name."""

    def __init__(self, inner: Destination, field: str) -> None:
        self.inner, self.field = inner, field
        self.name, self.capabilities = inner.name, inner.capabilities

    def check(self) -> None:
        self.inner.check()

    def open(self, run: RunInfo) -> Session:
        session = self.inner.open(dataclasses.replace(run, fields=(self.field,)))
        for name in ("send", "reconcile"):
            true = getattr(session, name)
            setattr(session, name, lambda batch, true=true: true(self._renamed(batch)))
        return session

    def _renamed(self, batch: Batch) -> Batch:
        records = (
            dataclasses.replace(own, fields={self.field: own.fields["value"]}) for own in batch.records
        )
        return Batch(tuple(records), batch.idempotency_key)


class Scene:
    """A fake server, the destination that speaks to it, and how often each person was reached."""

    def __init__(
        self,
        server: FakeServer,
        destination: Any,
        reached: Callable[[], Counter[str]],
        faults: Sequence[Fault],
        value: str = "A",
        **options: Any,
    ) -> None:
        self.server, self.destination, self.reached = server, destination, reached
        self.faults, self.value, self.options = faults, value, options


def wecom(kind: str, home: Path) -> Scene:
    clock = ScaledClock(factor=0, start=time.time())
    server = FakeWeCom(clock=clock)
    for number, customer in enumerate(PEOPLE):
        server.follow("li" if number % 3 else "wang", customer)
    declared: dict[str, Any] = {
        "corp_id": FakeWeCom.CORP,
        "secret": {"env": "WECOM_SECRET"},
        "base_url": server.url,
        "allow_loopback": True,
        "timeout_seconds": 5,
    }
    if kind == "wecom_tags":
        made = build_in(home, kind, clock, **declared, members=["li", "wang"], batch_size=10)
        return Scene(
            server,
            made,
            lambda: Counter(
                {customer: n for (_, customer, _, act), n in server.marked.items() if act == "add"}
            ),
            WECOM_FAULTS,
        )
    for customer in PEOPLE:
        server.follow("li", customer)
    made = build_in(home, kind, clock, **declared, batch_size=10)
    return Scene(
        server,
        Renamed(made, "sender"),
        lambda: Counter(customer for own in server.messages.values() for customer in own.customers),
        WECOM_FAULTS,
        "li",
        text="新品到店",
    )


def sms(home: Path) -> Scene:
    clock = ScaledClock(factor=0, start=time.time())
    server = FakeSms(clock=clock)
    made = build_in(
        home,
        "aliyun_sms",
        clock,
        base_url=server.url,
        access_key_id={"env": "SMS_ID"},
        access_key_secret={"env": "SMS_SECRET"},
        allow_loopback=True,
    )
    made.capabilities = dataclasses.replace(made.capabilities, batch_size=10)  # type: ignore[misc]
    options: dict[str, Any] = {
        "sign_name": FakeSms.SIGN,
        "template_code": FakeSms.TEMPLATE,
        "has_opt_out": True,
    }
    return Scene(server, Renamed(made, "city"), lambda: server.sent, SMS_FAULTS, **options)


def webhook(home: Path) -> Scene:
    server = FakeReceiver()
    made = build_in(
        home,
        "webhook",
        ScaledClock(factor=0, start=time.time()),
        url=f"{server.url}/in",
        secret={"env": "HOOK_SECRET"},
        allow_loopback=True,
        batch_size=10,
    )
    return Scene(server, made, lambda: server.applied, WEBHOOK_FAULTS)


SCENES: dict[str, Callable[[Path], Scene]] = {
    "wecom_tags": lambda home: wecom("wecom_tags", home),
    "wecom_messages": lambda home: wecom("wecom_messages", home),
    "sms": sms,
    "webhook": webhook,
}


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WECOM_SECRET", FakeWeCom.SECRET)
    monkeypatch.setenv("SMS_ID", FakeSms.KEY_ID)
    monkeypatch.setenv("SMS_SECRET", FakeSms.KEY_SECRET)
    monkeypatch.setenv("HOOK_SECRET", FakeReceiver.SECRET)
    yield


def push_until_quiet(one: Engine, scene: Scene) -> None:
    """Push as a schedule would: through faults first, then in peace until nothing is left to do."""
    for attempt in range(12):
        if attempt == 4:
            scene.server.faults.clear()
            one.crash = lambda point: False
        try:
            done = one.activation.push(one.line, scene.destination)
        except Crash:
            continue
        assert all(balances(one.ledger))
        if attempt > 4 and done.run is None and not one.ledger.runs(in_doubt=True):
            return
    raise AssertionError("the engine does not come to rest")


ROUNDS = int(os.environ.get("JINGXI_FAULT_ROUNDS", "6"))


@pytest.mark.parametrize("seed", range(ROUNDS))
@pytest.mark.parametrize("kind", SCENES)
def test_everybody_is_reached_once_whatever_breaks(kind: str, seed: int, tmp_path: Path) -> None:
    scene = SCENES[kind](tmp_path)
    try:
        chance = random.Random(f"{kind} {seed}")
        people = dict.fromkeys(PEOPLE, scene.value)
        own_line = line(fields=line().fields, options=scene.options) if scene.options else line()
        one = engine(tmp_path, "by_batch", people, line=own_line)
        scene.server.faults.randomly(seed, chance.choice([0.05, 0.2, 0.4]), scene.faults)
        crash_at: CrashPoint = chance.choice(CRASH_POINTS)
        one.crash = lambda point: point == crash_at and chance.random() < 0.3
        push_until_quiet(one, scene)
        assert scene.reached() == Counter(dict.fromkeys(PEOPLE, 1))
    finally:
        scene.server.stop()
