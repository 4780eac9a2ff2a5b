"""A receiver that answers 410 Gone is not called again before a person says so; the ledger remembers it."""

from __future__ import annotations

import dataclasses
import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from orchestration.activation import ledger as ledgers
from orchestration.activation.ledger import Ledger
from orchestration.activation.service import Desk
from orchestration.cli import pushing
from orchestration.cli.checkup import _ledger
from orchestration.cli.pushing import _show
from orchestration.destinations.protocol import Destination
from orchestration.home import Home
from orchestration.settings import Settings
from tests.activation_support import Engine, balances, engine, line
from tests.fakes.receiver import FakeReceiver
from tests.fakes.server import Fault, ScaledClock
from tests.unit.destination_support import build_in

PEOPLE = {f"1380000{i:04}": str(i) for i in range(10)}
GONE = Fault("http", status=410)


def webhook(home: Path, server: FakeReceiver) -> Destination:
    return build_in(
        home,
        "webhook",
        ScaledClock(factor=0, start=time.time()),
        "fake",
        url=f"{server.url}/in",
        secret={"env": "HOOK_SECRET"},
        allow_loopback=True,
        batch_size=4,
    )


def requests(server: FakeReceiver) -> int:
    return sum(server.calls.values())


@pytest.mark.parametrize("batches_before", [0, 1])
def test_a_receiver_that_is_gone_is_left_alone_until_a_person_says_otherwise(
    tmp_path: Path, receiver: FakeReceiver, batches_before: int
) -> None:
    ledger = Ledger.open(Home(tmp_path))
    one = engine(tmp_path, "by_batch", PEOPLE, ledger)
    own = webhook(tmp_path, receiver)
    receiver.faults.script("*", [*[None] * batches_before, *[GONE] * 9])
    first = one.activation.push(one.line, own)
    assert first.run and (first.run.state, first.run.accepted) == ("failed", 4 * batches_before)
    assert first.run.held == 10 - 4 * batches_before and not first.ok
    assert requests(receiver) == batches_before + 1

    one.planner.version = "v2"  # neither another day nor another line to it makes a call
    other = dataclasses.replace(one.line, activation="second_fake")
    for asked in (one.line, other):
        told = one.activation.push(asked, own)
        assert told.run is None and not told.ok
        assert told.to_dict()["state"] == "switched_off"
        assert "switched it off" in told.sentence and "http_410" in told.sentence
        assert told.sentence.endswith("jingxi retry winback_fake")
    assert requests(receiver) == batches_before + 1
    assert one.activation.push(one.line, own, approve=first.run.run_id).run is None

    still = one.activation.push(one.line, own, retry=True)  # asked too early: one call, and off again
    assert still.run and still.run.state == "failed" and still.switched_off
    assert requests(receiver) == batches_before + 2

    receiver.faults.clear()
    done = one.activation.push(one.line, own, retry=True)
    assert done.ok and receiver.applied == dict.fromkeys(PEOPLE, 1)
    assert ledger.switched_off() == {}
    assert one.activation.push(one.line, own).ok and all(balances(ledger))


def test_push_and_doctor_say_what_to_do(tmp_path: Path, receiver: FakeReceiver) -> None:
    ledger = Ledger.open(Home(tmp_path))
    one: Engine = engine(tmp_path, "by_batch", PEOPLE, ledger)
    receiver.faults.always("*", GONE)
    one.activation.push(one.line, webhook(tmp_path, receiver))
    told = one.activation.push(one.line, webhook(tmp_path, receiver))
    out = io.StringIO()
    _show(Console(file=out, width=200), [told.to_dict()])
    assert "winback_fake → fake: switched off" in out.getvalue()
    assert "jingxi retry winback_fake" in out.getvalue()
    finding = _ledger(Home(tmp_path), Settings())
    assert not finding.ok and finding.advice == told.sentence


@pytest.mark.parametrize("retry", [False, True])
def test_a_dry_run_says_that_nothing_would_be_sent(
    tmp_path: Path, receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch, retry: bool
) -> None:
    one: Engine = engine(tmp_path, "by_batch", PEOPLE, Ledger.open(Home(tmp_path)))
    own = webhook(tmp_path, receiver)
    receiver.faults.always("*", GONE)
    one.activation.push(one.line, own)
    calls = requests(receiver)
    desk = Desk(
        Home(tmp_path), Settings(), one.ledger, {"winback_fake": one.line}, {"fake": own}, one.activation
    )
    monkeypatch.setattr(pushing, "open_desk", lambda *args, **more: desk)
    out = io.StringIO()
    order = pushing.PushOrder(Home(tmp_path), Settings(), dry_run=True, retry=retry)
    ((told,), well) = pushing.push(order, Console(file=out, width=200))
    assert well and requests(receiver) == calls
    # A retry asks the receiver again.
    assert ("would not be sent: The receiver of fake switched it off" in out.getvalue()) == (not retry)
    assert told["switched_off"].endswith("jingxi retry winback_fake") == (not retry)
    assert told["added"] == 10


def test_a_destination_that_is_closed_for_a_day_is_not_switched_off(tmp_path: Path) -> None:
    from orchestration.destinations.errors import Halted
    from tests.unit.test_push import failing

    one = engine(tmp_path, "by_batch", PEOPLE)
    failing(one, Halted("isv.OUT_OF_SERVICE"))
    assert one.ledger.switched_off() == {}
    assert one.activation.push(one.line, one.destination).ok


def test_an_older_ledger_is_brought_up_with_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "HEAD", "0001")
    older = Ledger.open(Home(tmp_path))
    one = engine(tmp_path, "by_record", PEOPLE, older)
    older.switched_off = dict  # type: ignore[method-assign]
    assert one.activation.push(line(), one.destination).ok
    older.dispose()
    monkeypatch.setattr(ledgers, "HEAD", "0002")
    newer = Ledger.open(Home(tmp_path))
    assert newer.switched_off() == {}
    assert newer.acknowledged_count(line().ledger_key) == 10
