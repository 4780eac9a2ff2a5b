"""Text messages: signature, batches, limits, and lost answers that are never sent twice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestration.destinations.errors import (
    BatchRefused,
    ConfigurationError,
    Halted,
    OutcomeUnknown,
    PermissionDenied,
)
from orchestration.destinations.protocol import (
    Accepted,
    Deferred,
    Destination,
    NotReceived,
    Record,
    Rejected,
)
from orchestration.destinations.sms import signed_headers
from tests.fakes.server import (
    RESET_BEFORE,
    SERVER_ERROR,
    SERVER_ERROR_AFTER,
    TIMEOUT_AFTER,
    Fault,
    ScaledClock,
)
from tests.fakes.sms import FakeSms
from tests.unit.destination_support import batch_of, build_in, record, run_of

OPTIONS = {"sign_name": FakeSms.SIGN, "template_code": FakeSms.TEMPLATE, "has_opt_out": True}
START = run_of().started_at


@pytest.fixture
def clock() -> ScaledClock:
    return ScaledClock(factor=0, start=START.timestamp() + 30)


@pytest.fixture
def sms(clock: ScaledClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSms]:
    monkeypatch.setenv("SMS_ID", FakeSms.KEY_ID)
    monkeypatch.setenv("SMS_SECRET", FakeSms.KEY_SECRET)
    with FakeSms(clock=clock) as server:
        server.hang_seconds = 0.6
        yield server


@pytest.fixture
def destination(sms: FakeSms, clock: ScaledClock, tmp_path: Path) -> Destination:
    return build_in(
        tmp_path,
        "aliyun_sms",
        clock,
        base_url=sms.url,
        access_key_id={"env": "SMS_ID"},
        access_key_secret={"env": "SMS_SECRET"},
        allow_loopback=True,
        timeout_seconds=0.3,
    )


@pytest.fixture
def session(destination: Destination) -> Iterator[Any]:
    session = destination.open(run_of(("city",), options=OPTIONS, key_type="phone"))
    yield session
    session.close()


def people(count: int = 100) -> list[Record]:
    return [record(f"138{n:08d}", {"city": "上海"}) for n in range(count)]


def test_the_example_of_the_signature_is_stable() -> None:
    headers = signed_headers(
        action="SendBatchSms",
        host="dysmsapi.aliyuncs.com",
        body=b"OutId=1",
        moment=dt.datetime(2026, 1, 31, 8, 0, tzinfo=dt.timezone(dt.timedelta(hours=8))),
        nonce="00",
        key_id="id",
        key_secret="secret",
    )
    assert headers["x-acs-date"] == "2026-01-31T00:00:00Z"
    names = (
        "content-type;host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"
    )
    assert f"SignedHeaders={names},Signature=" in headers["Authorization"]


def test_a_hundred_at_a_time_each_once(sms: FakeSms, session: Any) -> None:
    assert session.send(batch_of(people())) == [Accepted()] * 100
    assert sms.calls["SendBatchSms"] == 1
    assert set(sms.sent.values()) == {1}
    assert '"city": "\\u4e0a\\u6d77"' in sms.texts[0].content


@pytest.mark.parametrize("fault", [TIMEOUT_AFTER, SERVER_ERROR_AFTER, Fault("reset", applied=True)])
def test_a_lost_answer_is_found_again(sms: FakeSms, session: Any, fault: Fault) -> None:
    sms.faults.script("SendBatchSms", [fault])
    batch = batch_of(people(5))
    with pytest.raises(OutcomeUnknown):
        session.send(batch)
    assert session.reconcile(batch) == [Accepted()] * 5
    assert set(sms.sent.values()) == {1}


@pytest.mark.parametrize("fault", [RESET_BEFORE, SERVER_ERROR])
def test_a_lost_call_was_not_received(sms: FakeSms, clock: ScaledClock, session: Any, fault: Fault) -> None:
    session.send(batch_of(people(5)))  # an earlier text to the same people proves nothing
    sms.faults.script("SendBatchSms", [fault])
    batch = batch_of([record(own.key, own.fields, run="r2") for own in people(5)])
    with pytest.raises(OutcomeUnknown):
        session.send(batch)
    slept = clock.slept
    assert session.reconcile(batch) == [NotReceived()] * 5
    assert clock.slept - slept >= 59, "the provider is given time until its details tell"


def test_a_text_of_yesterday_is_found_when_the_run_resumes_after_midnight(
    sms: FakeSms, clock: ScaledClock, destination: Destination, session: Any
) -> None:
    sms.faults.script("SendBatchSms", [TIMEOUT_AFTER])
    batch = batch_of(people(2))
    with pytest.raises(OutcomeUnknown):
        session.send(batch)
    clock.advance(24 * 3600)
    again = destination.open(run_of(("city",), options=OPTIONS, key_type="phone"))
    assert again.reconcile(batch) == [Accepted()] * 2
    again.close()


def test_what_failed_at_the_operator_is_a_dead_letter(sms: FakeSms, session: Any) -> None:
    sms.faults.script("SendBatchSms", [TIMEOUT_AFTER])
    batch = batch_of(people(2))
    with pytest.raises(OutcomeUnknown):
        session.send(batch)
    sms.settle(status=2)
    assert session.reconcile(batch) == [Rejected("send_failed")] * 2


def test_rows_that_cannot_be_sent_leave_the_others(sms: FakeSms, session: Any) -> None:
    rows = [*people(2), record("12345", {"city": "x"}), record("13900000000", {"city": None})]
    outcomes = session.send(batch_of(rows))
    assert outcomes == [Accepted(), Accepted(), Rejected("phone_unfit"), Rejected("parameter_not_text")]


def test_a_receivers_limit_defers_that_receiver(sms: FakeSms, clock: ScaledClock, session: Any) -> None:
    sms.per_phone_a_day = 1
    session.send(batch_of(people(1)))
    with pytest.raises(BatchRefused, match="BUSINESS_LIMIT"):
        session.send(batch_of(people(3)))
    (outcome,) = session.send(batch_of(people(1)))
    assert isinstance(outcome, Deferred)
    assert outcome.until is not None
    assert outcome.until > clock.now()
    assert set(sms.sent.values()) == {1}


@pytest.mark.parametrize("problem", ["day", "service"])
def test_the_accounts_limits_halt(sms: FakeSms, session: Any, problem: str) -> None:
    sms.day_limit, sms.out_of_service = (2, False) if problem == "day" else (None, True)
    with pytest.raises(Halted):
        session.send(batch_of(people(3)))
    assert not sms.texts


def test_refused_keys_and_clocks(
    sms: FakeSms, clock: ScaledClock, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination.check()
    monkeypatch.setenv("SMS_SECRET", "another")
    with pytest.raises(PermissionDenied, match="SignatureDoesNotMatch"):
        destination.check()
    monkeypatch.setenv("SMS_SECRET", FakeSms.KEY_SECRET)
    sms.clock = ScaledClock(factor=0, start=clock.monotonic() + 1000)
    with pytest.raises(PermissionDenied, match="InvalidTimeStamp"):
        destination.check()


@pytest.mark.parametrize("left_out", ["sign_name", "template_code", "has_opt_out"])
def test_lines_that_cannot_send_are_told_before_a_call(
    sms: FakeSms, destination: Destination, left_out: str
) -> None:
    options = {name: value for name, value in OPTIONS.items() if name != left_out}
    with pytest.raises(ConfigurationError):
        destination.open(run_of(("city",), options=options))
    assert sms.total_calls == 0


def test_a_service_message_needs_no_opt_out(destination: Destination) -> None:
    options = {name: value for name, value in OPTIONS.items() if name != "has_opt_out"}
    destination.open(run_of(("city",), options=options, purpose="service")).close()


def test_a_wrong_template_is_a_configuration_error(sms: FakeSms, destination: Destination) -> None:
    session = destination.open(run_of(("city",), options={**OPTIONS, "template_code": "SMS_2"}))
    with pytest.raises(ConfigurationError, match="SMS_TEMPLATE_ILLEGAL"):
        session.send(batch_of(people(1)))
    session.close()
