"""WeCom mass messages: tasks made once, never to everybody, and what became of them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.destinations.errors import ConfigurationError, Halted, PermissionDenied
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Deferred,
    Destination,
    InDoubt,
    NotReceived,
    Record,
    Rejected,
)
from orchestration.destinations.wecom_client import WeComClient
from orchestration.destinations.wecom_messages import (
    WeComMessages,
    WeComMessagesSession,
    WeComMessagesSettings,
)
from tests.fakes.server import (
    RESET_AFTER,
    RESET_BEFORE,
    SERVER_ERROR_AFTER,
    TIMEOUT_AFTER,
    Fault,
    ScaledClock,
)
from tests.fakes.wecom import FakeWeCom
from tests.unit.destination_support import batch_of, build_in, record, run_of

START = run_of().started_at
TEXT = "新品到店"


@pytest.fixture
def clock() -> ScaledClock:
    return ScaledClock(factor=0, start=START.timestamp() + 30)


@pytest.fixture
def wecom(clock: ScaledClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWeCom]:
    monkeypatch.setenv("WECOM_SECRET", FakeWeCom.SECRET)
    with FakeWeCom(clock=clock) as server:
        server.hang_seconds = 0.6
        for number in range(12):
            server.follow("li" if number % 2 else "wang", f"wm{number:03d}")
        yield server


def settings_of(server: FakeWeCom) -> dict[str, Any]:
    return {
        "corp_id": FakeWeCom.CORP,
        "secret": {"env": "WECOM_SECRET"},
        "base_url": server.url,
        "allow_loopback": True,
        "timeout_seconds": 0.3,
    }


@pytest.fixture
def destination(wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path) -> Destination:
    return build_in(tmp_path, "wecom_messages", clock, **settings_of(wecom))


@pytest.fixture
def session(destination: Destination) -> Iterator[Any]:
    session = destination.open(run_of(("sender",), options={"text": TEXT}))
    yield session
    session.close()


def people(numbers: range = range(12)) -> list[Record]:
    return [record(f"wm{n:03d}", {"sender": "li" if n % 2 else "wang"}) for n in numbers]


def test_each_member_gets_one_task_for_all_own_customers(wecom: FakeWeCom, session: Any) -> None:
    assert session.send(batch_of(people())) == [Accepted()] * 12
    assert Counter(own.creator for own in wecom.messages.values()) == {"li": 1, "wang": 1}
    assert {own.text for own in wecom.messages.values()} == {TEXT}
    assert all(wecom.times_reached(own.key) == 1 for own in people())


def test_nobody_is_never_everybody(wecom: FakeWeCom, clock: ScaledClock, session: Any) -> None:
    assert session.send(Batch((), "0" * 32)) == []
    lost = [record("wm001", {"sender": None}), record("wm003", {}), record("", {"sender": "li"})]
    assert session.send(batch_of(lost)) == [Rejected("sender_missing")] * 3
    assert wecom.total_calls == 0
    # The fake does as the platform does: a client that forgets would reach all six customers of that member.
    client = WeComClient(WeComMessagesSettings.model_validate(settings_of(wecom)), clock)
    client.post(
        "add_msg_template",
        {"chat_type": "single", "sender": "li", "external_userid": [], "text": {"content": "x"}},
        idempotent=False,
    )
    client.close()
    assert len(next(iter(wecom.messages.values())).customers) == 6
    with pytest.raises(ConfigurationError, match="empty_list"):
        session._post("li", [])


@pytest.mark.parametrize("fault", [TIMEOUT_AFTER, RESET_AFTER, SERVER_ERROR_AFTER])
def test_a_lost_answer_is_found_again_and_not_repeated(wecom: FakeWeCom, session: Any, fault: Fault) -> None:
    wecom.faults.script("add_msg_template", [None, fault])
    batch = batch_of(people())
    outcomes = session.send(batch)
    doubtful = [
        own for own, outcome in zip(batch.records, outcomes, strict=True) if isinstance(outcome, InDoubt)
    ]
    assert len(doubtful) == 6, "only the member whose call was lost"
    assert sum(isinstance(own, Accepted) for own in outcomes) == 6
    assert session.reconcile(Batch(tuple(doubtful), batch.idempotency_key)) == [Accepted()] * 6
    assert all(wecom.times_reached(own.key) == 1 for own in people())


def test_a_lost_call_is_told_apart_from_a_lost_answer(wecom: FakeWeCom, session: Any) -> None:
    wecom.faults.script("add_msg_template", [RESET_BEFORE, RESET_BEFORE])
    batch = batch_of(people())
    assert all(isinstance(own, InDoubt) for own in session.send(batch))
    assert session.reconcile(batch) == [NotReceived()] * 12
    assert session.send(batch) == [Accepted()] * 12


def test_another_message_to_the_same_people_proves_nothing(
    wecom: FakeWeCom, destination: Destination, session: Any
) -> None:
    other = destination.open(run_of(("sender",), options={"text": "another text"}))
    other.send(batch_of(people()))
    other.close()
    wecom.faults.script("add_msg_template", [RESET_BEFORE, RESET_BEFORE])
    batch = batch_of(people())
    session.send(batch)
    assert session.reconcile(batch) == [NotReceived()] * 12


def test_straight_after_creation_it_stays_in_doubt(
    wecom: FakeWeCom, clock: ScaledClock, session: Any
) -> None:
    wecom.send_result_delay = 600
    wecom.faults.script("add_msg_template", [TIMEOUT_AFTER, TIMEOUT_AFTER])
    batch = batch_of(people())
    session.send(batch)
    assert session.reconcile(batch) == [InDoubt("errcode_41063")] * 12
    clock.advance(600)
    assert session.reconcile(batch) == [Accepted()] * 12


def test_a_page_walk_that_loses_its_place_begins_again(wecom: FakeWeCom, session: Any) -> None:
    for number in range(700):
        wecom.follow("li", f"many{number:04d}")
    many = [record(f"many{n:04d}", {"sender": "li"}) for n in range(700)]
    wecom.faults.script("add_msg_template", [TIMEOUT_AFTER])
    batch = batch_of(many)
    session.send(batch)
    wecom.faults.script("get_groupmsg_send_result", [None, Fault("answer", body={"errcode": 50100})])
    assert session.reconcile(batch) == [Accepted()] * 700


def test_rows_that_cannot_get_it(wecom: FakeWeCom, session: Any) -> None:
    rows = [*people(range(4)), record("stranger", {"sender": "li"}), record("wm004", {"sender": "nobody"})]
    rows.append(record("wm001", {"sender": "zhao"}))
    wecom.add_member("zhao")
    outcomes = session.send(batch_of(rows))
    assert outcomes[:4] == [Accepted()] * 4
    assert [own.code for own in outcomes[4:]] == ["not_sendable", "errcode_40003", "errcode_41048"]


def test_quota_waits_and_too_much_is_deferred(wecom: FakeWeCom, clock: ScaledClock, session: Any) -> None:
    wecom.faults.script("add_msg_template", [Fault("answer", body={"errcode": 45009})])
    assert session.send(batch_of(people(range(2)))) == [Accepted()] * 2
    assert clock.slept >= 60
    wecom.faults.always("add_msg_template", Fault("answer", body={"errcode": 45009}))
    assert session.send(batch_of(people(range(2, 4)))) == [Deferred("errcode_45009")] * 2
    assert wecom.times_reached("wm002") == 0


def test_one_refused_address_is_one_call(wecom: FakeWeCom, session: Any) -> None:
    wecom.address_allowed = False
    with pytest.raises(PermissionDenied, match="60020"):
        session.send(batch_of(people()))
    assert wecom.calls["add_msg_template"] == 1


def test_refused_content_ends_the_run(wecom: FakeWeCom, session: Any) -> None:
    wecom.faults.always("add_msg_template", Fault("answer", body={"errcode": 41064}))
    with pytest.raises(Halted, match="41064"):
        session.send(batch_of(people()))
    assert wecom.calls["add_msg_template"] == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"text": ""}, {"text": 3}, {"text": "长" * 1334}, {"text": "x", "attachments": [{}] * 10}],
)
def test_messages_that_cannot_be_are_told_before_a_call(
    wecom: FakeWeCom, destination: Destination, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError):
        destination.open(run_of(("sender",), options=options))
    assert wecom.total_calls == 0


def test_results_come_back_after_the_member_confirmed(
    wecom: FakeWeCom, clock: ScaledClock, destination: Destination, session: Any
) -> None:
    assert isinstance(destination, WeComMessages)
    assert isinstance(session, WeComMessagesSession)
    session.send(batch_of(people()))
    first = next(own for own in wecom.messages.values() if own.creator == "li")
    wecom.unfriend("li", "wm001")
    wecom.limits.messages_a_day = 0
    wecom.confirm(first.msgid)
    wecom.limits.messages_a_day = None
    clock.advance(60)
    found = list(destination.answers(START, START + dt.timedelta(hours=1)))
    assert Counter((own.by, own.status) for own in found) == {("li", "failed"): 6}, (
        "wang has not confirmed yet"
    )
    second = next(own for own in wecom.messages.values() if own.creator == "wang")
    wecom.confirm(second.msgid)
    sent = [own for own in destination.answers(START, START + dt.timedelta(days=70)) if own.status == "sent"]
    assert len(sent) == 6
    assert all(own.made_at >= START and own.at >= own.made_at for own in sent)
    assert "wm0" not in repr(sent)
