"""WeCom tags against the fake server: one call per member and customer, tokens, limits, faults."""

from __future__ import annotations

import gc
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestration.destinations.errors import (
    ConfigurationError,
    DestinationError,
    NotSent,
    PermissionDenied,
)
from orchestration.destinations.protocol import Accepted, Destination, InDoubt, Outcome, Rejected
from orchestration.destinations.wecom_client import WeComClient
from orchestration.destinations.wecom_tags import WeComTagsSettings
from tests.fakes.server import (
    RESET_AFTER,
    RESET_BEFORE,
    SERVER_ERROR,
    TIMEOUT_AFTER,
    TIMEOUT_BEFORE,
    Fault,
    ScaledClock,
)
from tests.fakes.wecom import FakeWeCom, Limits
from tests.unit.destination_support import batch_of, build_in, record, run_of, send_all

GROUP = "RFM"


@pytest.fixture
def clock() -> ScaledClock:
    return ScaledClock(factor=0)


@pytest.fixture
def wecom(clock: ScaledClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWeCom]:
    monkeypatch.setenv("WECOM_SECRET", FakeWeCom.SECRET)
    with FakeWeCom(clock=clock) as server:
        for number in range(20):
            server.follow("li", f"wm{number:03d}")
        yield server


def tags_destination(server: FakeWeCom, home: Path, clock: ScaledClock, **settings: Any) -> Destination:
    given: dict[str, Any] = {
        "corp_id": FakeWeCom.CORP,
        "secret": {"env": "WECOM_SECRET"},
        "base_url": server.url,
        "allow_loopback": True,
        "members": sorted(server.members),
        "timeout_seconds": 0.5,
        **settings,
    }
    return build_in(home, "wecom_tags", clock, **given)


def push(
    destination: Destination, records: list[Any], fields: tuple[str, ...] = (GROUP,), **run: Any
) -> list[Outcome]:
    session = destination.open(run_of(fields, **run))
    try:
        outcomes = send_all(session, records, destination.capabilities.batch_size)
        session.finish()
        return outcomes
    finally:
        session.close()


def test_missing_tags_are_made_and_only_differences_are_sent(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    destination = tags_destination(wecom, tmp_path, clock)
    records = [record(f"wm{n:03d}", {GROUP: "重要价值" if n % 2 else "一般"}) for n in range(20)]
    assert push(destination, records) == [Accepted()] * 20
    assert wecom.tag_names("li", "wm001") == {(GROUP, "重要价值")}
    assert wecom.calls["add_corp_tag"] == 1
    assert wecom.calls["mark_tag"] == 20
    assert push(destination, records) == [Accepted()] * 20
    assert wecom.calls["mark_tag"] == 20, "what is right already needs no call"
    assert push(destination, [record("wm001", {GROUP: "一般"})]) == [Accepted()]
    assert wecom.tag_names("li", "wm001") == {(GROUP, "一般")}
    assert set(wecom.marked.values()) == {1}


def test_each_member_of_a_customer_gets_a_call_of_its_own(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    for member in ("wang", "zhao"):
        wecom.follow(member, "wm000")
    destination = tags_destination(wecom, tmp_path, clock)
    assert push(destination, [record("wm000", {GROUP: "A"})]) == [Accepted()]
    assert {pair: n for pair, n in wecom.mark_calls.items() if pair[1] == "wm000"} == {
        (member, "wm000"): 1 for member in ("li", "wang", "zhao")
    }


def test_only_tags_of_declared_groups_are_taken_off(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    mine, own = wecom.make_tag("staff's own", "likes tea"), wecom.make_tag(GROUP, "old")
    wecom.follows["li", "wm000"].tags |= {mine, own}
    destination = tags_destination(wecom, tmp_path, clock)
    assert push(destination, [record("wm000", operation="remove")]) == [Accepted()]
    assert wecom.tag_names("li", "wm000") == {("staff's own", "likes tea")}


def test_a_constant_tag_touches_no_other_tag_of_its_group(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    other = wecom.make_tag("audiences", "other")
    wecom.follows["li", "wm000"].tags.add(other)
    destination = tags_destination(wecom, tmp_path, clock)
    options = {"group": "audiences", "tag": "vip"}
    assert push(destination, [record("wm000")], (), options=options) == [Accepted()]
    assert wecom.tag_names("li", "wm000") == {("audiences", "other"), ("audiences", "vip")}
    assert push(destination, [record("wm000", operation="remove")], (), options=options) == [Accepted()]
    assert wecom.tag_names("li", "wm000") == {("audiences", "other")}


def test_a_named_member_needs_no_walk(wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path) -> None:
    destination = tags_destination(wecom, tmp_path, clock)
    old = wecom.make_tag(GROUP, "old")
    wecom.follows["li", "wm000"].tags.add(old)
    sent = push(destination, [record("wm000", {"userid": "li", GROUP: "new"})], ("userid", GROUP))
    assert sent == [Accepted()]
    assert wecom.tag_names("li", "wm000") == {(GROUP, "new")}
    assert wecom.calls["batch/get_by_user"] == 0


def test_bad_rows_are_rejected_and_the_rest_is_marked_once(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    destination = tags_destination(wecom, tmp_path, clock)
    session = destination.open(run_of((GROUP,)))
    records = [record(f"wm{n:03d}", {GROUP: "A"}) for n in range(10)]
    records[3] = record("wm003", {GROUP: "长" * 31})
    records[4] = record("stranger", {GROUP: "A"})
    records[5] = record("wm005", {GROUP: {"no": "text"}})
    session.send(batch_of([record("wm019", {GROUP: "A"})]))  # the walk is done
    wecom.unfriend("li", "wm006")
    outcomes = session.send(batch_of(records))
    session.close()
    assert [own.code for own in outcomes if isinstance(own, Rejected)] == [
        "tag_name_too_long",
        "no_member_follows",
        "tag_not_text",
        "errcode_84061",
    ]
    assert sum(isinstance(own, Accepted) for own in outcomes) == 6
    assert set(wecom.mark_calls.values()) == {1}


@pytest.mark.parametrize(
    "fault",
    [TIMEOUT_AFTER, TIMEOUT_BEFORE, RESET_BEFORE, RESET_AFTER, SERVER_ERROR]
    + [Fault("answer", body={"errcode": code}) for code in (-1, 6000, 45033, 45009, 40014, 42001)]
    + [Fault("answer", applied=True, body={"errcode": -1})],
)
def test_one_fault_leaves_the_same_final_state(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path, fault: Fault
) -> None:
    destination = tags_destination(wecom, tmp_path, clock)
    wecom.hang_seconds = 1.0
    for api in ("get_corp_tag_list", "add_corp_tag", "batch/get_by_user"):
        wecom.faults.script(api, [fault])
    # A token that is refused twice in one call is not tried a third time: the second fault could meet the replay.
    once = (fault.body or {}).get("errcode") in (40014, 42001)
    wecom.faults.script("mark_tag", [None, None, fault] if once else [None, None, fault, None, fault])
    records = [record(f"wm{n:03d}", {GROUP: "A"}) for n in range(20)]
    assert push(destination, records) == [Accepted()] * 20
    assert set(wecom.marked.values()) == {1}
    assert len(wecom.marked) == 20


def test_what_stays_unanswered_is_in_doubt_and_replayed(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    destination = tags_destination(wecom, tmp_path, clock)
    wecom.faults.always("mark_tag", RESET_AFTER)
    records = [record(f"wm{n:03d}", {GROUP: "A"}) for n in range(3)]
    outcomes = push(destination, records)
    assert all(isinstance(own, InDoubt) for own in outcomes)
    wecom.faults.clear()
    assert push(destination, records) == [Accepted()] * 3
    assert set(wecom.marked.values()) == {1}


@pytest.mark.parametrize("problem", ["address", "permission", "secret", "mark"])
def test_what_cannot_work_costs_one_call(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if problem == "address":
        wecom.address_allowed = False
    elif problem == "permission":
        wecom.without_permission.add("get_corp_tag_list")
    elif problem == "secret":
        monkeypatch.setenv("WECOM_SECRET", "another")
    else:
        wecom.without_permission.add("mark_tag")
    destination = tags_destination(wecom, tmp_path, clock)
    with pytest.raises(PermissionDenied):
        push(destination, [record(f"wm{n:03d}", {GROUP: "A"}) for n in range(20)])
    calls = {
        name: n
        for name, n in wecom.calls.items()
        if name not in {"gettoken", "batch/get_by_user", "add_corp_tag"}
    }
    expected = {"secret": {}, "mark": {"get_corp_tag_list": 1, "mark_tag": 1}}
    assert calls == expected.get(problem, {"get_corp_tag_list": 1})
    assert wecom.calls["gettoken"] == 1


def test_fifty_workers_with_a_revoked_token_ask_for_one_new_token(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    settings = WeComTagsSettings.model_validate(
        {
            "corp_id": FakeWeCom.CORP,
            "secret": {"env": "WECOM_SECRET"},
            "base_url": wecom.url,
            "allow_loopback": True,
            "members": ["li"],
            "workers": 50,
        }
    )
    tag = wecom.make_tag(GROUP, "A")
    client = WeComClient(settings, clock)
    client.check()
    assert wecom.issued == 1
    wecom.revoke_tokens()

    def mark(number: int) -> None:
        body = {"userid": "li", "external_userid": f"wm{number % 20:03d}", "add_tag": [tag]}
        client.post("mark_tag", body, idempotent=True)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(mark, range(50)))
    client.close()
    assert wecom.issued == 2
    assert wecom.accepted_marks == 50
    assert wecom.calls["mark_tag"] <= 100


def test_a_token_that_is_refused_again_and_again_ends_the_run(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    wecom.faults.always("get_corp_tag_list", Fault("answer", body={"errcode": 42001}))
    with pytest.raises(PermissionDenied):
        push(tags_destination(wecom, tmp_path, clock), [record("wm000", {GROUP: "A"})])
    assert wecom.calls["get_corp_tag_list"] == 2
    assert wecom.calls["gettoken"] == 2


def test_too_many_at_once_halves_the_workers(
    clock: ScaledClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WECOM_SECRET", FakeWeCom.SECRET)
    with FakeWeCom(clock=clock, limits=Limits(concurrency=3)) as server:
        server.slowness = 0.005
        for number in range(200):
            server.follow("li", f"wm{number:03d}")
        destination = tags_destination(server, tmp_path, ScaledClock(factor=20), workers=16)
        session = destination.open(run_of((GROUP,)))
        records = [record(f"wm{n:03d}", {GROUP: "A"}) for n in range(200)]
        assert session.send(batch_of(records)) == [Accepted()] * 200
        assert session._workers.allowed <= 4  # type: ignore[attr-defined]
        session.close()
        assert set(server.mark_calls.values()) == {1}


def test_a_tag_deleted_meanwhile_is_made_again(wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path) -> None:
    destination = tags_destination(wecom, tmp_path, clock)
    session = destination.open(run_of((GROUP,)))
    session.send(batch_of([record("wm000", {GROUP: "A"})]))
    (tag,) = wecom.follows["li", "wm000"].tags
    wecom.follows["li", "wm000"].tags.clear()
    del wecom.tags[tag]
    assert session.send(batch_of([record("wm001", {GROUP: "A"})])) == [Accepted()]
    session.close()
    assert wecom.tag_names("li", "wm001") == {(GROUP, "A")}


def test_an_unknown_code_for_every_row_stops_early(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    for number in range(20, 300):
        wecom.follow("li", f"wm{number:03d}")
    wecom.faults.always("mark_tag", Fault("answer", body={"errcode": 99999}))
    with pytest.raises(DestinationError, match="errcode_99999"):
        push(
            tags_destination(wecom, tmp_path, clock), [record(f"wm{n:03d}", {GROUP: "A"}) for n in range(300)]
        )
    assert wecom.calls["mark_tag"] < 60


def test_a_server_that_is_gone_is_surely_not_sent(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    destination = tags_destination(wecom, tmp_path, clock)
    wecom.stop()
    with pytest.raises(NotSent):
        push(destination, [record("wm000", {GROUP: "A"})])


def test_declarations_that_cannot_work_are_told_before_a_call(
    wecom: FakeWeCom, clock: ScaledClock, tmp_path: Path
) -> None:
    destination = tags_destination(wecom, tmp_path, clock)
    for run in (run_of(()), run_of((), options={"group": "x"}), run_of(("长" * 31,))):
        with pytest.raises(ConfigurationError):
            destination.open(run)
    assert wecom.total_calls == 0


def held_bytes(root: object) -> int:
    """Bytes of everything that can be reached from an object, without code, classes and threads."""
    seen: dict[int, object] = {}
    left = [root]
    while left:
        own = left.pop()
        if id(own) in seen or isinstance(
            own, type | types.ModuleType | types.FunctionType | threading.Thread
        ):
            continue
        seen[id(own)] = own
        left += gc.get_referents(own)
    return sum(sys.getsizeof(own) for own in seen.values())


def change_tags(customers: int, *, minute: int, hour: int, home: Path) -> dict[str, float]:
    """Tag every customer of ten members once; figures of pace (on a clock that only sleeping moves) and memory."""
    clock = ScaledClock(factor=0)
    with FakeWeCom(clock=clock, limits=Limits(per_minute=minute, per_hour=hour)) as server:
        for number in range(customers):
            server.follow(f"member{number % 10}", f"wm{number:06d}")
        destination = tags_destination(
            server, home, clock, calls_per_minute=minute, calls_per_hour=hour, timeout_seconds=60, workers=1
        )
        session = destination.open(run_of((GROUP,), planned=customers))
        progress: list[int] = []
        memory: list[int] = []
        size, accepted = destination.capabilities.batch_size, 0
        for start in range(0, customers, size):
            chosen = range(start, min(start + size, customers))
            outcomes = session.send(batch_of([record(f"wm{n:06d}", {GROUP: "A"}) for n in chosen]))
            accepted += sum(isinstance(own, Accepted) for own in outcomes)
            progress.append(accepted)
            if start % (customers // 4) == 0:
                memory.append(held_bytes(session))
        session.finish()
        session.close()
        assert accepted == customers == server.accepted_marks
        assert set(server.mark_calls.values()) == {1}
        assert progress == [min((n + 1) * size, customers) for n in range(-(-customers // size))]
        times = server.times[-customers:]
        return {
            "calls": server.calls["mark_tag"],
            "rate": customers / (times[-1] - times[0]) * 60,
            "grown": (memory[-1] - memory[0]) / 2**20,
        }


def test_two_thousand_changes_are_paced_within_five_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WECOM_SECRET", FakeWeCom.SECRET)
    figures = change_tags(2_000, minute=1_000, hour=100_000, home=tmp_path)
    assert 950 <= figures["rate"] <= 1_050
    assert figures["calls"] == 2_000, "no call was refused for its pace"
    assert figures["grown"] < 0.5


def test_an_hours_limit_below_sixty_minutes_limits_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WECOM_SECRET", FakeWeCom.SECRET)
    figures = change_tags(580, minute=50, hour=200, home=tmp_path)
    assert 580 <= figures["calls"] <= 582, "only tokens that ended after two hours cost a second call"
    # 200 at the pace of the minute, then the next when the first are an hour (and a slot) old, and so on.
    assert 580 / figures["rate"] == pytest.approx(2 * 61 + 180 / 50, abs=2)


@pytest.mark.long
def test_a_hundred_thousand_changes_are_paced_within_five_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WECOM_SECRET", FakeWeCom.SECRET)
    figures = change_tags(100_000, minute=10_000, hour=150_000, home=tmp_path)
    print({name: round(value, 2) for name, value in figures.items()})
    assert 9_500 <= figures["rate"] <= 10_500
    assert figures["calls"] == 100_000
    assert figures["grown"] < 0.5
