"""The engine against a destination that counts: nothing twice, nothing lost, every record accounted for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from orchestration.activation.activate import Outcome, line_lock
from orchestration.activation.crash_points import CRASH_POINTS, CrashPoint
from orchestration.destinations.errors import (
    ConfigurationError,
    NotSent,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    safe_code,
)
from orchestration.destinations.protocol import Accepted, Record, Rejected
from orchestration.errors import LockedError
from tests.activation_support import Crash, Engine, FakeSession, Kind, balances, engine, line

KINDS: tuple[Kind, ...] = get_args(Kind)
PEOPLE = {f"1380000{i:04}": str(i) for i in range(10)}


def push(one: Engine, **more: object) -> Outcome:
    return one.activation.push(one.line, one.destination, **more)  # type: ignore[arg-type]


def once(one: Engine, people: dict[str, str] = PEOPLE) -> bool:
    return one.server.effects() == {(key, f"upsert:{value}"): 1 for key, value in people.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_everyone_is_sent_once_and_a_rerun_sends_nothing(tmp_path: Path, kind: Kind) -> None:
    one = engine(tmp_path, kind, PEOPLE)
    done = push(one)
    assert done.ok and done.run and (done.run.planned, done.run.accepted) == (10, 10)
    assert once(one)
    calls = one.server.calls
    assert push(one).run is None
    assert one.server.calls == calls
    assert not list((tmp_path / "activation").glob("*.parquet"))


@pytest.mark.parametrize("mode", ["full", "insert", "upsert", "mirror"])
def test_in_no_mode_a_rerun_of_a_finished_run_sends_anything(tmp_path: Path, mode: str) -> None:
    one = engine(tmp_path, "by_record", {**PEOPLE, "bad": "1"}, line=line(mode))
    push(one)
    calls = one.server.calls
    assert push(one).run is None and one.server.calls == calls
    one.planner.version = "v2"  # the next publication: full sends all again, the others the dead letter alone
    again = push(one).run
    assert again and again.planned == (11 if mode == "full" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_audience_makes_no_call(tmp_path: Path, kind: Kind) -> None:
    one = engine(tmp_path, kind, {})
    destination = one.destination
    assert one.activation.push(one.line, destination).run is None
    assert (one.server.calls, destination.opened) == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_bad_rows_are_rejected(tmp_path: Path, kind: Kind) -> None:
    people = {**PEOPLE, "bad1": "x", "bad2": "y", "bad3": "z"}
    one = engine(tmp_path, kind, people)
    run = push(one).run
    assert run and (run.accepted, run.rejected, run.in_doubt, run.held) == (10, 3, 0, 0)
    assert once(one)
    assert push(one).run is None
    one.server.bad = frozenset()  # repaired: dead letters go again when they are asked to, and nothing else
    retried = push(one, retry=True).run
    assert retried and (retried.planned, retried.accepted) == (3, 3)
    assert once(one, people)


@pytest.mark.parametrize("point", CRASH_POINTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_at_any_point_loses_nothing_and_doubles_nothing(
    tmp_path: Path, kind: Kind, point: CrashPoint
) -> None:
    passages = 1
    while True:  # at each passage of the point, one after the other
        one = engine(tmp_path / str(passages), kind, PEOPLE)
        one.crash = at_passage(point, passages)
        try:
            push(one)
        except Crash:
            one.crash = lambda at: False
        else:
            break  # the point is passed fewer times
        done = push(one)
        if kind == "forgets" and done.in_doubt:
            (run,) = one.ledger.runs(in_doubt=True)
            arrived = point == "after_call"
            one.ledger.decide(run.run_id, sent=arrived)
            done = push(one)
        assert done.ok
        push(one)
        assert once(one), f"{kind} {point} passage {passages}"
        assert all(balances(one.ledger))
        passages += 1
    assert passages > 1 or point in (
        "before_replay",
        "after_replay",
        "after_outcomes",
        "before_finish",
        "after_finish",
    )


@pytest.mark.parametrize("kind", ["by_batch", "by_record", "reconciles"])
@pytest.mark.parametrize("point", ["before_replay", "after_replay", "after_sending"])
def test_a_crash_while_what_is_in_doubt_is_settled(tmp_path: Path, kind: Kind, point: CrashPoint) -> None:
    one = engine(tmp_path, kind, PEOPLE)
    one.crash = lambda at: at == "after_call"
    with pytest.raises(Crash):
        push(one)
    one.crash = lambda at: at == point
    with pytest.raises(Crash):
        push(one)
    one.crash = lambda at: False
    assert push(one).ok and once(one)


def at_passage(point: CrashPoint, passage: int) -> Callable[[CrashPoint], bool]:
    """Crash the so-manieth time that the point is passed."""
    seen = 0

    def crash(at: CrashPoint) -> bool:
        nonlocal seen
        seen += at == point
        return at == point and seen == passage

    return crash


class Failing(FakeSession):
    """Raises before or after the server took the batch."""

    error: Exception
    after = False
    times = 1
    first = 1

    def send(self, batch):  # type: ignore[no-untyped-def]
        self.server.calls += 1
        if self.first <= self.server.calls < self.first + self.times:
            if self.after:
                self.server.take(batch)
            raise self.error
        return self.server.take(batch)


def failing(one: Engine, error: Exception, *, times: int = 1, after: bool = False, first: int = 1) -> Outcome:
    destination = one.destination
    session = type("Session", (Failing,), {"error": error, "times": times, "after": after, "first": first})
    destination.open = lambda run: session(one.server, run)  # type: ignore[method-assign]
    return one.activation.push(one.line, destination)


@pytest.mark.parametrize("kind", ["by_batch", "by_record"])
@pytest.mark.parametrize("after", [False, True])
def test_an_idempotent_destination_gets_the_same_call_again(tmp_path: Path, kind: Kind, after: bool) -> None:
    one = engine(tmp_path, kind, PEOPLE)
    assert failing(one, OutcomeUnknown("timeout"), after=after, times=2).ok
    assert once(one)


@pytest.mark.parametrize("kind", ["by_batch", "by_record", "reconciles"])
@pytest.mark.parametrize("after", [False, True])
def test_after_too_many_timeouts_the_next_push_settles_it(tmp_path: Path, kind: Kind, after: bool) -> None:
    one = engine(tmp_path, kind, PEOPLE)
    first = failing(one, OutcomeUnknown("timeout"), after=after, times=99)
    assert not first.ok
    assert all(balances(one.ledger))
    push(one)
    assert push(one).ok
    assert once(one)


def test_without_a_way_to_ask_a_person_decides(tmp_path: Path) -> None:
    one = engine(tmp_path, "forgets", PEOPLE)
    first = failing(one, OutcomeUnknown("timeout"), after=True)
    assert first.in_doubt == 4 and first.run and first.run.accepted == 6
    one.planner.version = "v2"
    held = push(one)
    assert held.run and held.run.planned == held.run.held == 4 and held.held_by == {"in_doubt": 4}
    one.ledger.decide(first.run.run_id, sent=True)
    assert push(one).run is None and once(one)


def test_throttling_pauses_and_keeps_the_place(tmp_path: Path) -> None:
    one = engine(tmp_path, "reconciles", PEOPLE)
    done = failing(one, Throttled("http_429", 7), times=3)
    assert done.ok and once(one)
    assert one.slept == [7, 7, 7]
    assert any("http_429" in getattr(told, "waiting_for", "") for told in one.told)


def test_a_pause_that_is_too_long_is_for_the_next_run(tmp_path: Path) -> None:
    one = engine(tmp_path, "reconciles", PEOPLE)
    first = failing(one, Throttled("errcode_45009", 9999), first=2)
    assert first.run and (first.run.state, first.run.accepted, first.run.held) == ("failed", 4, 6)
    assert push(one).ok and once(one)


@pytest.mark.parametrize(
    "error", [PermissionDenied("errcode_60020"), ConfigurationError("no_secret", "Set X.")]
)
def test_no_permission_is_one_call_and_the_run_fails(tmp_path: Path, error: Exception) -> None:
    one = engine(tmp_path, "by_record", PEOPLE)
    done = failing(one, error, times=99)
    assert one.server.calls == 1
    assert done.run and (done.run.state, done.run.held) == ("failed", 10)
    assert push(one).ok and once(one)


def test_what_was_never_sent_is_tried_again_and_then_waits(tmp_path: Path) -> None:
    one = engine(tmp_path, "forgets", PEOPLE)
    done = failing(one, NotSent("connection_refused"), times=2)
    assert done.ok and once(one)
    two = engine(tmp_path / "two", "forgets", PEOPLE)
    held = failing(two, NotSent("connection_refused"), times=99)
    assert held.run and (held.run.held, held.run.in_doubt) == (10, 0)


def test_an_error_that_no_destination_may_raise_ends_the_run_without_its_words(tmp_path: Path) -> None:
    one = engine(tmp_path, "by_record", PEOPLE)
    done = failing(one, ValueError("13812345678"), after=True)
    assert done.run and done.run.reason == "unexpected_error: ValueError" and done.in_doubt == 4
    push(one)
    assert push(one).ok and once(one)


def test_who_withdrew_consent_since_the_plan_is_not_reached(tmp_path: Path) -> None:
    one = engine(tmp_path, "by_record", PEOPLE)
    one.refused = {"user-13800000003": "consent_withdrawn"}
    done = push(one)
    assert done.run and (done.run.accepted, done.run.held) == (9, 1)
    assert done.held_by == {"consent_withdrawn": 1}
    assert all(key != "13800000003" for key, _ in one.server.effects())


@pytest.mark.parametrize("kind", ["by_batch", "by_record"])
def test_who_withdrew_consent_is_not_sent_again_with_what_is_in_doubt(tmp_path: Path, kind: Kind) -> None:
    one = engine(tmp_path, kind, PEOPLE)
    one.crash = lambda at: at == "after_sending"
    with pytest.raises(Crash):
        push(one)
    one.crash = lambda at: False
    one.refused = {"user-13800000003": "consent_withdrawn"}
    done = push(one)
    assert done.in_doubt == 1 and done.run and done.run.accepted == 9
    one.refused = {}
    assert push(one).in_doubt == 1  # only a person can say what became of it
    one.ledger.decide(done.run.run_id, sent=False)
    assert push(one).ok and once(one)


def test_mirror_removes_only_what_was_sent(tmp_path: Path) -> None:
    one = engine(tmp_path, "by_record", dict(PEOPLE), line=line("mirror"))
    push(one)
    gone = one.planner.audience.popitem()[0]
    one.planner.version = "v2"
    done = push(one)
    assert done.run and (done.run.removed, done.run.accepted) == (1, 1)
    removed = [key for (key, value) in one.server.effects() if value.startswith("remove")]
    assert len(removed) == 1 and gone
    assert push(one).run is None


def test_a_held_run_waits_for_a_person(tmp_path: Path) -> None:
    one = engine(tmp_path, "by_record", PEOPLE)
    one.planner.objections = ("Too many.",)
    held = push(one)
    assert held.awaits_approval and held.run and held.run.reason == "Too many." and one.server.calls == 0
    assert push(one).run == held.run  # asked again, it is the same
    done = push(one, approve=held.run.run_id)
    assert done.ok and once(one) and one.ledger.is_approved(held.run.run_id)


def test_a_held_run_of_yesterday_is_superseded(tmp_path: Path) -> None:
    one = engine(tmp_path, "by_record", PEOPLE)
    one.planner.objections = ("Too many.",)
    held = push(one).run
    one.planner.version, one.planner.objections = "v2", ()
    assert push(one).ok and once(one)
    assert held and one.ledger.run(held.run_id).state == "superseded"
    assert all(balances(one.ledger))


def test_a_crashed_run_of_yesterday_is_settled_and_the_rest_planned_anew(tmp_path: Path) -> None:
    one = engine(tmp_path, "reconciles", PEOPLE)
    one.crash = at_passage("after_call", 2)
    with pytest.raises(Crash):
        push(one)
    one.crash = lambda at: False
    one.planner.version = "v2"
    assert push(one).ok and once(one)
    assert {run.state for run in one.ledger.runs()} == {"superseded", "finished"}


def test_one_push_of_a_line_at_a_time(tmp_path: Path) -> None:
    one = engine(tmp_path, "by_record", PEOPLE)
    with (
        line_lock(one.home, one.line.activation),
        pytest.raises(LockedError, match="winback_fake is being pushed"),
    ):
        push(one)


def test_codes_and_representations_hold_nobody() -> None:
    assert safe_code("errcode_40003") == "errcode_40003"
    assert {safe_code(text) for text in ("13800000000", "no such user 张三", "x" * 65, "")} == {"unfit_code"}
    assert Rejected("138-0000-0000 rejected").code == "unfit_code"
    assert "138" not in repr(Record("13800000000", "upsert", {"name": "13800000000"}, "a" * 32))
    assert Accepted() == Accepted()
