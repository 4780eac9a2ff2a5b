"""What was sent comes back as rows of touches: once for each message and status, without making users."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.activation.deliveries import (
    Delivery,
    export_answers,
    export_deliveries,
    take_in_deliveries,
    write_deliveries,
)
from orchestration.activation.ledger import Ledger, NewRecord, NewRun, Settlement
from orchestration.activation.lines import Line
from orchestration.destinations.protocol import Answer
from orchestration.ingestion.registry import Registry
from tests.unit.published_support import NOW, PublishedHome

PHONE = "13800000001"


@pytest.fixture
def place(tmp_path: Path) -> PublishedHome:
    return PublishedHome(
        tmp_path / "home",
        {"ua": {"phone": PHONE, "member_id": "m-a"}, "ub": {"contact_id": "w-b", "phone": "13800000002"}},
    )


def delivery(
    place: PublishedHome, id_type: str = "phone", id_: str = PHONE, status: str = "sent"
) -> Delivery:
    return Delivery(
        "push:1",
        id_type,
        place.hash(id_type, id_),
        "sms",
        status,
        NOW,
        campaign_id="spring",
        journey_node="spring_sms",
        content_id="t1",
    )


def line(name: str, channel: str) -> Line:
    return Line(name, name, "a", "outbox", "upsert", "marketing", channel, "phone", ())


def raw(place: PublishedHome) -> list[tuple[object, ...]]:
    files = Registry(place.home).visible_files(dt.date.max).get("touches", [])
    if not files:
        return []
    with duckdb.connect() as session:
        return session.execute(
            "select touch_id, id_type, id, channel, status, occurred_at, campaign_id, journey_node, content_id, _arrived_on "
            "from read_parquet(?) order by all",
            [[str(file) for file in files]],
        ).fetchall()


def test_a_delivery_becomes_a_row_of_touches(place: PublishedHome) -> None:
    written = write_deliveries(place.home, place.settings, [delivery(place)], at=NOW)
    assert (written.rows, written.unknown) == (1, 0)
    assert written.file is not None
    assert written.file.stat().st_mode & 0o077 == 0
    (result,) = take_in_deliveries(place.home, place.settings, now=NOW)
    assert (result.status, result.accepted, result.rejected) == ("taken", 1, 0)
    assert raw(place) == [
        (
            *("push:1", "phone", PHONE, "sms", "sent", NOW.replace(tzinfo=None)),
            *("spring", "spring_sms", "t1", dt.date(2026, 7, 1)),
        )
    ]
    # Raw holds the row; no second copy of the phone number stays.
    assert not written.file.exists()


def test_the_day_of_arrival_is_the_business_day(place: PublishedHome) -> None:
    """23:59:59 and 00:00 in Shanghai are 15:59:59 and 16:00 UTC."""
    for second, day in [(59, dt.date(2026, 7, 1)), (60, dt.date(2026, 7, 2))]:
        at = dt.datetime(2026, 7, 1, 15, 59, tzinfo=dt.UTC) + dt.timedelta(seconds=second)
        one = replace(delivery(place), touch_id=f"push:{second}", occurred_at=at)
        write_deliveries(place.home, place.settings, [one], at=at)
        take_in_deliveries(place.home, place.settings, now=at)
        assert raw(place)[-1][-1] == day


def test_the_same_deliveries_are_one_file_and_one_row(place: PublishedHome) -> None:
    one, other = delivery(place), delivery(place, status="delivered")
    first = write_deliveries(place.home, place.settings, [one, other], at=NOW)
    # In another order, on another day, before and after it was taken in.
    again = write_deliveries(place.home, place.settings, [other, one, one], at=NOW + dt.timedelta(days=1))
    assert (again.file, again.rows) == (first.file, 2)
    take_in_deliveries(place.home, place.settings, now=NOW)
    rows = raw(place)
    assert len(rows) == 2
    late = NOW + dt.timedelta(days=2)
    assert write_deliveries(place.home, place.settings, [one, other], at=late).rows == 2
    assert take_in_deliveries(place.home, place.settings, now=late) == ()
    assert raw(place) == rows
    assert list((place.home.deliveries / "touches").rglob("*.jsonl")) == []


def test_somebody_unknown_is_counted_and_not_written(place: PublishedHome) -> None:
    gone = delivery(place, id_="13999999999")
    written = write_deliveries(place.home, place.settings, [gone, delivery(place)], at=NOW)
    assert (written.rows, written.unknown) == (1, 1)
    nobody = write_deliveries(place.home, place.settings, [gone], at=NOW)
    assert (nobody.file, nobody.rows, nobody.unknown) == (None, 0, 1)
    assert write_deliveries(place.home, place.settings, [], at=NOW).file is None


def test_a_user_id_is_written_as_the_strongest_identifier_of_the_user(place: PublishedHome) -> None:
    place.add("user_merges", [("u_old", "ub", "merge"), ("u_split", "ub", "split")])
    told = [
        replace(delivery(place, "user_id", user), touch_id=user) for user in ("ua", "ub", "u_old", "u_split")
    ]
    written = write_deliveries(place.home, place.settings, told, at=NOW)
    assert written.file is not None
    found = {row["touch_id"]: (row["id_type"], row["id"]) for row in map(json.loads, written.file.open())}
    assert found == {
        "ua": ("member_id", "m-a"),
        "ub": ("contact_id", "w-b"),
        "u_old": ("contact_id", "w-b"),
    }
    assert written.unknown == 1


def test_what_a_person_may_read_shows_nobody(place: PublishedHome) -> None:
    written = write_deliveries(place.home, place.settings, [delivery(place)], at=NOW)
    (result,) = take_in_deliveries(place.home, place.settings, now=NOW)
    assert PHONE not in f"{written!r}{result!r}{delivery(place)!r}"


def test_the_ledger_comes_back_as_touches(place: PublishedHome) -> None:
    """Accepted and rejected messages return once each; what is held, in doubt or a removal is no message, nor is a tag."""
    clock = [NOW]
    ledger = Ledger.open(place.home, now=lambda: clock[0])
    sms = line("spring_sms", "sms")
    lines = [sms, line("spring_tag", "tags")]
    phones = [PHONE, "13800000002", PHONE, "13800000002", PHONE]
    for one in lines:
        new = NewRun(one.activation, one.ledger_key, "a", "upsert", "s", dt.date(2026, 6, 30), 5, 5, 0, 0, 0)
        records = [
            NewRecord(i, place.hash("phone", phone), f"row{i}", "remove" if i == 4 else "upsert")
            for i, phone in enumerate(phones)
        ]
        run = ledger.create_run(new, records)
        ledger.begin(run.run_id, [0, 1, 2, 4], 1)
        ledger.settle(
            run,
            [
                Settlement(0, "accepted"),
                Settlement(1, "rejected", "84061"),
                Settlement(2, "in_doubt", "timeout"),
                Settlement(4, "accepted"),
            ],
        )
        ledger.hold_rest(run.run_id, "cap")
    content = (place.home.path / "ledger.sqlite").read_bytes()
    assert not any(phone.encode() in content for phone in phones)

    def told() -> list[tuple[object, ...]]:
        export_deliveries(place.home, place.settings, ledger, lines, at=clock[0])
        take_in_deliveries(place.home, place.settings, now=clock[0])
        return [(row[0], row[2], row[4], row[7]) for row in raw(place)]

    expected: list[tuple[object, ...]] = [
        ("push:spring_sms:0", PHONE, "sent", "spring_sms"),
        ("push:spring_sms:1", "13800000002", "failed", "spring_sms"),
    ]
    assert told() == expected
    clock[0] += dt.timedelta(days=1)
    assert told() == expected
    # What was in doubt is found to have been received: it comes, and nothing comes again that the warehouse would count.
    ledger.settle(ledger.run("spring_sms"), [Settlement(2, "accepted")])
    assert set(told()) == {*expected, ("push:spring_sms:2", PHONE, "sent", "spring_sms")}
    ledger.dispose()


_STATUSES = ("sent", "delivered", "failed")


@settings(max_examples=6)
@given(
    calls=st.lists(
        st.lists(st.tuples(st.integers(1, 4), st.sampled_from(_STATUSES)), max_size=5), min_size=1, max_size=4
    ),
    takes=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_any_way_of_telling_counts_each_message_and_status_once(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[tuple[int, str]]], takes: list[bool]
) -> None:
    """Deliveries told in parts, again, or after a crash between writing and taking in, as the warehouse counts them."""
    place = PublishedHome(tmp_path_factory.mktemp("deliveries") / "home", {"ua": {"phone": PHONE}})
    for call, is_taken in zip(calls, takes, strict=False):
        told = [replace(delivery(place, status=status), touch_id=f"push:{number}") for number, status in call]
        write_deliveries(place.home, place.settings, told, at=NOW)
        if is_taken:
            take_in_deliveries(place.home, place.settings, now=NOW)
    take_in_deliveries(place.home, place.settings, now=NOW)
    expected = {(f"push:{number}", status) for call in calls for number, status in call}
    assert {(row[0], row[4]) for row in raw(place)} == expected


def test_a_task_is_planned_until_somebody_carried_it_out(place: PublishedHome) -> None:
    ledger = Ledger.at("sqlite://", now=lambda: NOW)
    wecom = Line("mass", "mass", "a", "wecom", "upsert", "marketing", "wecom", "contact_id", ())
    run = NewRun("r1", wecom.ledger_key, "a", "upsert", "s", dt.date(2026, 6, 30), 1, 1, 0, 0, 0)
    made = ledger.create_run(run, [NewRecord(0, place.hash("contact_id", "w-b"), "row", "upsert")])
    ledger.begin("r1", [0], 1)
    ledger.settle(made, [Settlement(0, "accepted")])
    sums = export_deliveries(place.home, place.settings, ledger, [wecom], at=NOW, answering={"wecom"})
    assert sums.rows == 1
    minute = dt.timedelta(minutes=1)
    later = NOW + dt.timedelta(days=1)
    answers = [
        Answer("w-b", "sent", NOW - minute, later, "li"),
        Answer("w-b", "sent", NOW - dt.timedelta(days=2), later, "li"),  # a task that somebody else made
        Answer("w-unknown", "sent", NOW - minute, later, "li"),
    ]
    for _ in range(2):
        told = export_answers(place.home, place.settings, ledger, [wecom], answers, at=later)
        assert (told.rows, told.unknown) == (1, 0)
    take_in_deliveries(place.home, place.settings, now=later)
    assert [(row[0], row[2], row[4]) for row in raw(place)] == [
        ("push:r1:0", "w-b", "planned"),
        ("push:r1:0", "w-b", "sent"),
    ]
