"""Who said no counts at the moment of sending, however lately it arrived, and quiet hours are those of the business day."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pytest

from orchestration.activation.activate import Activation
from orchestration.activation.consent import ConsentError, NewestConsents, refusals
from orchestration.activation.contact_policy import contact_policy
from orchestration.activation.crash_points import CrashPoint
from orchestration.activation.lines import Line as ActivationLine
from orchestration.activation.push import Tools
from orchestration.publishing import database
from tests.activation_support import Crash, balances, engine
from tests.unit.published_support import NOW, PublishedHome

PHONES = {"ua": "13800000001", "ub": "13800000002", "uc": "13800000003"}
CONSENTS = "id_type,id,purpose,channel,status,changed_at"


@dataclass(frozen=True)
class Line:
    activation: str = "spring_sms"
    purpose: str = "marketing"
    channel: str = "sms"


@pytest.fixture
def place(tmp_path: Path) -> PublishedHome:
    people = {user: {"phone": phone, "contact_id": f"w-{user}"} for user, phone in PHONES.items()}
    home = PublishedHome(tmp_path / "home", people)
    home.land(
        "consents/dt=2026-06-01/all.csv",
        CONSENTS,
        *(f"phone,{phone},marketing,all,granted,2026-06-01T00:00:00" for phone in PHONES.values()),
    )
    home.take()
    return home


def refused(place: PublishedHome, line: Line | None = None, at: dt.datetime = NOW) -> Mapping[str, str]:
    """Asked anew, as by another process."""
    return contact_policy(place.home, place.settings).refused_now(line or Line(), list(PHONES), at)


def test_everybody_who_granted_may_be_reached(place: PublishedHome) -> None:
    assert refused(place) == {}


@pytest.mark.parametrize("is_taken_in", [False, True])
def test_a_withdrawal_between_build_and_send_counts(place: PublishedHome, *, is_taken_in: bool) -> None:
    policy = contact_policy(place.home, place.settings)
    assert policy.refused_now(Line(), list(PHONES), NOW) == {}
    place.land(
        "consents/dt=2026-07-01/late.csv",
        CONSENTS,
        # As somebody writes it: another country code, other case.
        "phone,+86 138-0000-0001,Marketing,SMS ,withdrawn,2026-07-01T09:59:00",
        # On another channel, and one that was granted again.
        "phone,13800000002,marketing,wecom,withdrawn,2026-07-01T09:59:00",
        "phone,13800000003,marketing,all,withdrawn,2026-07-01T09:00:00",
        "phone,13800000003,marketing,sms,granted,2026-07-01T09:00:01",
    )
    if is_taken_in:
        place.take()
    # The same process notices it: nobody has to start again.
    assert policy.refused_now(Line(), list(PHONES), NOW) == {"ua": "consent_withdrawn"}
    assert refusals(
        place.home, place.settings, ["ua", "ub"], purpose="marketing", channel="wecom", at=NOW
    ) == {"ub": "consent_withdrawn"}
    # A withdrawal of marketing leaves service alone.
    assert refused(place, Line(purpose="service")) == {}


def test_of_two_statements_of_one_instant_the_withdrawal_counts(place: PublishedHome) -> None:
    place.land(
        "consents/dt=2026-07-01/a.csv",
        CONSENTS,
        "phone,13800000001,marketing,sms,withdrawn,2026-06-01T00:00:00",
    )
    assert refused(place) == {"ua": "consent_withdrawn"}


def test_a_wrong_clock_of_a_source_never_lets_a_message_through(place: PublishedHome) -> None:
    place.land(
        "consents/dt=2026-07-01/a.csv",
        CONSENTS,
        # A day ahead: the withdrawal counts at once, a grant when its moment has come.
        "phone,13800000001,marketing,sms,withdrawn,2026-07-02T10:00:00",
        "phone,13800000002,marketing,sms,withdrawn,2026-07-01T09:00:00",
        "phone,13800000002,marketing,sms,granted,2026-07-01T10:00:01",
    )
    assert refused(place) == {"ua": "consent_withdrawn", "ub": "consent_withdrawn"}
    later = NOW + dt.timedelta(seconds=1)
    assert refused(place, at=later) == {"ua": "consent_withdrawn"}


def test_a_correction_of_a_statement_replaces_it(place: PublishedHome) -> None:
    row = "phone,13800000001,marketing,sms,{},2026-06-20T00:00:00"
    place.land("consents/dt=2026-06-20/a.csv", CONSENTS, row.format("withdrawn"))
    assert refused(place) == {"ua": "consent_withdrawn"}
    place.take()
    place.land("consents/dt=2026-07-01/b.csv", CONSENTS, row.format("granted"))
    assert refused(place) == {}


def test_erasure_unsubscribe_and_the_end_of_a_contact_count(place: PublishedHome) -> None:
    place.land(
        "erasure_requests/dt=2026-07-01/a.csv",
        "request_id,id_type,id,requested_at",
        "r1,phone,13800000001,2026-07-01T08:00:00",
    )
    place.land(
        "touches/dt=2026-07-01/a.csv",
        "touch_id,id_type,id,channel,status,occurred_at",
        "m1,phone,13800000002,sms,unsubscribed,2026-07-01T08:00:00",
        "m2,phone,13800000003,email,unsubscribed,2026-07-01T08:00:00",
    )
    place.land(
        "contacts/dt=2026-07-01/a.csv",
        "contact_id,staff_id,added_at,deleted_at,blocked_at",
        "w-ua,s1,2026-01-01T00:00:00,,",
        "w-ub,s1,2026-01-01T00:00:00,2026-07-01T09:00:00,",
        "w-ub,s2,2026-01-01T00:00:00,2026-07-01T09:00:00,",
        "w-uc,s1,2026-01-01T00:00:00,2026-07-01T09:00:00,",
        "w-uc,s2,2026-01-01T00:00:00,,",
    )
    assert refused(place) == {"ua": "erased", "ub": "unsubscribed"}
    assert refused(place, Line(purpose="service")) == {"ua": "erased"}
    # Through WeCom only contacts are reached: one who deleted everybody of the staff is none any more.
    assert refused(place, Line(channel="wecom")) == {"ua": "erased", "ub": "contact_deleted"}
    place.land(
        "contacts/dt=2026-07-01/b.csv",
        "contact_id,staff_id,added_at,deleted_at,blocked_at",
        "w-uc,s2,2026-01-01T00:00:00,,2026-07-01T09:30:00",
    )
    assert refused(place, Line(channel="wecom"))["uc"] == "blocked"


def test_nothing_is_read_again_while_nothing_arrives(
    place: PublishedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    consents = NewestConsents(place.home, place.settings)
    reads: list[str] = []
    read = NewestConsents._read

    def counted(self: NewestConsents, *arguments: object) -> Mapping[str, str]:
        reads.append("read")
        return read(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(NewestConsents, "_read", counted)
    for _ in range(20):
        consents.refused(purpose="marketing", channel="sms", needs_contact=False, at=NOW)
    assert len(reads) == 1
    place.land("consents/new.csv", CONSENTS, "phone,13800000001,marketing,sms,withdrawn,2026-07-01T09:00:00")
    found = consents.refused(purpose="marketing", channel="sms", needs_contact=False, at=NOW)
    assert (found, len(reads)) == ({"ua": "consent_withdrawn"}, 2)


def test_consents_that_cannot_be_read_stop_the_sending_and_show_nobody(
    place: PublishedHome, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # No header: the first record, and with it a phone number, stands where names of columns should.
    place.land("consents/broken.csv", "phone,13912345678,marketing,sms,withdrawn,2026-07-01T09:00:00")
    with pytest.raises(ConsentError, match="so nothing is sent") as raised:
        refused(place)
    assert "consents/broken.csv" in str(raised.value)
    assert "13912345678" not in f"{raised.value}{caplog.text}"
    assert list(place.home.temp.glob("consent-*")) == []


def test_lines_without_a_decision_reach_nobody(place: PublishedHome) -> None:
    place.add(
        "contact_policy_decisions",
        [
            ("spring_sms", "ua", True, None),
            ("spring_sms", "ub", False, "cap"),
            ("other", "uc", True, None),
        ],
    )
    policy = contact_policy(place.home, place.settings)
    with duckdb.connect() as session:
        database.attach(session, place.home.marts, "marts")
        session.execute("create temp table planned_users as select unnest(['ua', 'ub', 'uc']) as user_id")
        assert policy.held(session, Line(), NOW) == [("ub", "cap"), ("uc", "no_decision")]


@pytest.mark.parametrize(
    ("moment", "is_quiet"),
    [
        # The bundled rule: marketing is quiet from 21:00 to 09:00 in Shanghai, which is 13:00 to 01:00 UTC.
        ("2026-07-01T12:59:59+00:00", False),
        ("2026-07-01T13:00:00+00:00", True),
        ("2026-07-01T15:59:59+00:00", True),
        ("2026-07-01T16:00:00+00:00", True),
        ("2026-07-02T00:59:59+00:00", True),
        ("2026-07-02T01:00:00+00:00", False),
        # The same moment as told by a host in another zone.
        ("2026-07-01T08:59:59-05:00", True),
    ],
)
def test_quiet_hours_are_those_of_the_business_day(
    place: PublishedHome, moment: str, *, is_quiet: bool
) -> None:
    at = dt.datetime.fromisoformat(moment)
    assert refused(place, at=at) == (dict.fromkeys(PHONES, "quiet_hours") if is_quiet else {})
    # Nobody notices a tag.
    assert refused(place, Line(channel="tags", purpose="service"), at=at) == {}


@pytest.mark.parametrize("point", ["after_plan", "before_sending", "after_sending"])
def test_a_withdrawal_that_lands_after_the_plan_is_not_sent(tmp_path: Path, point: CrashPoint) -> None:
    """The push dies, somebody withdraws, the push is started again: counted at the destination."""
    people = {f"1380000{number:04}": str(number) for number in range(6)}
    one = engine(tmp_path / "home", "by_record", people)
    place = PublishedHome(one.home.path, {f"user-{phone}": {"phone": phone} for phone in people})
    policy = contact_policy(place.home, place.settings)

    def tools(line: ActivationLine) -> Tools:
        return replace(one.tools(line), refused_now=lambda users: policy.refused_now(Line(), users, NOW))

    activation = Activation(one.home, tools, one.ledger, one.planner, one.payload)
    one.crash = lambda at: at == point
    with pytest.raises(Crash):
        activation.push(one.line, one.destination)
    assert one.server.effects() == {}
    one.crash = lambda at: False
    place.land("consents/new.csv", CONSENTS, "phone,13800000003,marketing,all,withdrawn,2026-07-01T09:59:59")
    activation.push(one.line, one.destination)
    assert sorted(key for key, _ in one.server.effects()) == sorted(set(people) - {"13800000003"})
    assert set(one.server.effects().values()) == {1}
    assert all(balances(one.ledger))
