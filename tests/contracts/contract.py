"""The contract of destinations as checks that say what is wrong.

Write a `Harness` for a destination, then run every check of `CHECKS` with it (see test_contracts.py). A check raises
AssertionError with a sentence for the author of the destination.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from orchestration.destinations.errors import (
    BatchRefused,
    DestinationError,
    NotSent,
    OutcomeUnknown,
    RunFailed,
)
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Destination,
    InDoubt,
    NotReceived,
    Outcome,
    Record,
    Rejected,
    RunInfo,
    Session,
)
from tests.unit.destination_support import batch_of, record, run_of

Trouble = Literal["down", "timeout_before", "timeout_after", "reset_before", "reset_after", "denied"]

MARKER_KEY = "13812345678"
MARKER_FIELD = "Zhang-Weimin-Marker"


class Harness(ABC):
    """A destination with its fake counterpart. A fresh one for each check."""

    destination: Destination
    fields: tuple[str, ...] = ("city",)
    options: Mapping[str, JsonValue] = {}
    secrets: tuple[str, ...] = ()
    """Texts that must not appear anywhere: passwords, tokens, keys."""
    troubles: tuple[Trouble, ...] = ()
    """What `trouble` can bring about."""
    purpose: str = "marketing"
    key_type: str = "phone"

    @abstractmethod
    def received(self) -> Mapping[str, Any]:
        """What is there now, by the record's key."""

    @abstractmethod
    def effects(self) -> Counter[str]:
        """How often each key took effect there (a replay that changed nothing does not count)."""

    @abstractmethod
    def calls(self) -> int:
        """Calls that arrived there."""

    def key(self, number: int) -> str:
        """Keys that the counterpart knows; number 0 is the marker."""
        return MARKER_KEY if number == 0 else f"138{number:08d}"

    def values(self, number: int) -> dict[str, JsonValue]:
        """Fields of a record."""
        return dict.fromkeys(self.fields, MARKER_FIELD if number == 0 else f"value {number}")

    def trouble(self, kind: Trouble) -> None:
        """From now on, every call meets this."""
        raise AssertionError(f"{type(self).__name__} names the trouble {kind} and does not make it")

    def peace(self) -> None:  # noqa: B027  (most have nothing to do)
        """End of the trouble; nothing to do for who makes none."""

    def bad_record(self) -> Record | None:
        """A record that the counterpart refuses, or None when it refuses none."""
        return None

    def plant_foreign(self) -> str | None:
        """Put something of somebody else's there and return its key; None when nobody else writes there."""
        return None

    def close(self) -> None:  # noqa: B027
        """Stop the counterpart."""

    # --- helpers ---

    def record(self, number: int) -> Record:
        return record(self.key(number), self.values(number))

    def run(self, **changes: Any) -> RunInfo:
        facts = {"options": self.options, "purpose": self.purpose, "key_type": self.key_type, **changes}
        return run_of(self.fields, **facts)

    @contextmanager
    def session(self, **changes: Any) -> Iterator[Session]:
        session = self.destination.open(self.run(**changes))
        try:
            yield session
        finally:
            session.close()

    def push(self, records: Sequence[Record], **changes: Any) -> list[Outcome]:
        """All the way, as the engine does it."""
        with self.session(**changes) as session:
            outcomes = list(session.send(batch_of(records)))
            session.finish()
        return outcomes


Make = Callable[[], Harness]
CHECKS: dict[str, Callable[[Harness], None]] = {}


class NotApplicable(Exception):
    """The destination does not claim what the check is about."""


def check(function: Callable[[Harness], None]) -> Callable[[Harness], None]:
    CHECKS[function.__name__] = function
    return function


def must(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _records(harness: Harness, count: int = 7) -> list[Record]:
    return [
        harness.record(number) for number in range(min(count, harness.destination.capabilities.batch_size))
    ]


@check
def capabilities_are_constant_and_checking_changes_nothing(harness: Harness) -> None:
    own = harness.destination.capabilities
    must(own == harness.destination.capabilities, "capabilities must be the same whenever they are read")
    must(own.batch_size >= 1, "batch_size must be at least 1")
    must(
        own.idempotent or own.reconciles,
        "a destination that is neither idempotent nor able to reconcile leaves every timeout to a person",
    )
    harness.destination.check()
    must(not harness.received(), "check() must change nothing at the destination")


@check
def an_empty_batch_makes_no_call(harness: Harness) -> None:
    with harness.session() as session:
        before = harness.calls()
        must(list(session.send(Batch((), "0" * 32))) == [], "an empty batch must give no outcome")
        must(
            harness.calls() == before,
            "an empty batch must make no call: an empty list may mean everybody there",
        )
    must(not harness.received(), "an empty batch must leave nothing at the destination")


@check
def every_record_is_there_once(harness: Harness) -> None:
    records = _records(harness)
    outcomes = harness.push(records)
    must(len(outcomes) == len(records), f"{len(records)} records need as many outcomes, not {len(outcomes)}")
    must(all(isinstance(own, Accepted) for own in outcomes), f"good records must be Accepted, not {outcomes}")
    must(
        set(harness.received()) == {own.key for own in records},
        "every accepted record must be at the destination",
    )
    must(
        set(harness.effects().values()) == {1}, "every accepted record must have had its effect exactly once"
    )


@check
def outcomes_stand_in_the_order_of_the_records(harness: Harness) -> None:
    bad = harness.bad_record()
    if bad is None or harness.destination.capabilities.batch_size < 3:
        raise NotApplicable
    records = [harness.record(1), bad, harness.record(2)]
    try:
        outcomes = harness.push(records)
    except BatchRefused:
        must(not harness.received(), "BatchRefused says that nothing was taken, but something was")
        halves = [
            *harness.push([records[0]]),
            *_alone(harness, bad),
            *harness.push([records[2]], run_id="0" * 26),
        ]
        outcomes = halves
    kinds = [type(own) for own in outcomes]
    must(
        kinds == [Accepted, Rejected, Accepted],
        f"of good, bad, good exactly the bad record must be Rejected, not {[own.__name__ for own in kinds]}",
    )
    must(bad.key not in harness.received(), "a rejected record must not be at the destination")


def _alone(harness: Harness, bad: Record) -> list[Outcome]:
    try:
        return harness.push([bad], run_id="1" * 26)
    except BatchRefused as error:
        return [Rejected(error.code)]


@check
def a_replay_has_no_further_effect(harness: Harness) -> None:
    if not harness.destination.capabilities.idempotent:
        raise NotApplicable
    records = _records(harness)
    harness.push(records)
    first = dict(harness.received())
    outcomes = harness.push(records)
    must(all(isinstance(own, Accepted) for own in outcomes), "a replay must be Accepted again")
    must(dict(harness.received()) == first, "a replay must leave the destination as it was")
    must(
        set(harness.effects().values()) == {1},
        "idempotent is claimed, but the same batch sent again had its effect twice",
    )


@check
def a_lost_answer_is_neither_accepted_nor_sent_twice(harness: Harness) -> None:
    _lost(
        harness, [kind for kind in ("timeout_after", "reset_after") if kind in harness.troubles], taken=True
    )


@check
def a_lost_call_is_neither_accepted_nor_lost(harness: Harness) -> None:
    _lost(
        harness,
        [kind for kind in ("timeout_before", "reset_before") if kind in harness.troubles],
        taken=False,
    )


def _lost(harness: Harness, kinds: Sequence[Any], *, taken: bool) -> None:
    if not kinds:
        raise NotApplicable
    capabilities = harness.destination.capabilities
    for position, kind in enumerate(kinds):
        records = [harness.record(10 * (position + 1) + at) for at in range(2)][: capabilities.batch_size]
        run = {"run_id": f"{position:026d}"}
        with harness.session(**run) as session:
            harness.trouble(kind)
            try:
                outcomes: Sequence[Any] = session.send(batch_of(records))
                if capabilities.whole:
                    session.finish()
            except (OutcomeUnknown, NotSent):
                outcomes = [InDoubt("raised")] * len(records)
            finally:
                harness.peace()
            must(
                not any(isinstance(own, Accepted | Rejected) for own in outcomes),
                f"after {kind} nobody knows what happened: InDoubt or OutcomeUnknown, not {outcomes}",
            )
            if not capabilities.idempotent:
                found = session.reconcile(batch_of(records))
                want = Accepted if taken else NotReceived
                must(
                    all(isinstance(own, want) for own in found),
                    f"after {kind} reconcile must find {want.__name__}, not {found}",
                )
        if capabilities.idempotent or not taken:
            outcomes = harness.push(records, **run)
            must(
                all(isinstance(own, Accepted) for own in outcomes), f"after {kind} a replay must be Accepted"
            )
        for own in records:
            times = harness.effects()[own.key]
            must(times == 1, f"after {kind} and recovery a record took effect {times} times instead of once")


@check
def an_unreachable_destination_accepts_nothing(harness: Harness) -> None:
    if "down" not in harness.troubles:
        raise NotApplicable
    harness.trouble("down")
    try:
        outcomes = harness.push(_records(harness, 2))
    except DestinationError as error:
        must(
            isinstance(error, NotSent | OutcomeUnknown),
            f"a destination that cannot be reached is NotSent, not {type(error).__name__}",
        )
    else:
        raise AssertionError(f"nothing can be reached, yet the outcomes are {outcomes}")


@check
def a_destination_that_does_not_let_us_in_fails_the_run(harness: Harness) -> None:
    if "denied" not in harness.troubles:
        raise NotApplicable
    harness.trouble("denied")
    before = harness.calls()
    try:
        harness.push(_records(harness))
    except RunFailed:
        must(
            harness.calls() - before <= 2,
            "refused credentials must end the run after one call, not be tried again",
        )
    except DestinationError as error:
        raise AssertionError(
            f"refused credentials must raise PermissionDenied, not {type(error).__name__}"
        ) from None
    else:
        raise AssertionError("refused credentials must raise PermissionDenied")


@check
def nothing_is_visible_before_finish(harness: Harness) -> None:
    if not harness.destination.capabilities.whole:
        raise NotApplicable
    with harness.session() as session:
        session.send(batch_of(_records(harness)))
        must(not harness.received(), "whole is claimed, but records are visible before finish()")
    must(not harness.received(), "whole is claimed, but a run that was not finished left records behind")


@check
def removing_touches_only_what_is_named(harness: Harness) -> None:
    if not harness.destination.capabilities.removes:
        raise NotApplicable
    foreign = harness.plant_foreign()
    if foreign is None:
        raise NotApplicable
    kept, gone = harness.record(1), harness.record(2)
    harness.push([kept, gone], mode="mirror")
    outcomes = harness.push([record(gone.key, {}, "remove")], mode="mirror", run_id="2" * 26)
    must(
        [type(own) for own in outcomes] == [Accepted],
        f"removing an own record must be Accepted, not {outcomes}",
    )
    there = set(harness.received())
    must(gone.key not in there, "a removed record must be gone")
    must(kept.key in there, "a record that was not named must stay")
    must(foreign in there, "what somebody else put there must stay")
    harness.push([record(foreign, {}, "remove")], mode="mirror", run_id="3" * 26)
    must(foreign in set(harness.received()), "even when named, what somebody else put there must stay")


@check
def nothing_personal_or_secret_is_shown(harness: Harness) -> None:
    markers = [MARKER_KEY, harness.key(0), MARKER_FIELD, *harness.secrets]
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    level, shown = root.level, []
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        shown.append(repr(harness.destination) + str(harness.destination))
        with contextlib.suppress(DestinationError), harness.session() as session:
            shown.append(repr(session) + repr(session.send(batch_of([harness.record(0)]))))
            session.finish()
        if (bad := harness.bad_record()) is not None:
            with contextlib.suppress(DestinationError):
                shown.append(repr(harness.push([bad], run_id="9" * 26)))
        # A server that is down stays down: the last of the troubles.
        for position, kind in enumerate(sorted(harness.troubles, key=lambda own: own == "down")):
            harness.trouble(kind)
            try:
                shown.append(repr(harness.push([harness.record(0)], run_id=f"{position:026d}")))
            except DestinationError as error:
                shown.append(
                    "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__)
                )
            finally:
                harness.peace()
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    for marker in markers:
        must(marker not in "".join(shown), f"a representation or an error shows {marker!r}")
        must(
            marker not in log.getvalue(), f"a log line shows {marker!r}: {_line_with(log.getvalue(), marker)}"
        )


def _line_with(text: str, marker: str) -> str:
    return next((line for line in text.splitlines() if marker in line), "")[:200]


@check
def closing_frees_everything(harness: Harness) -> None:
    harness.push(_records(harness, 2))  # what a process keeps for good is there from now on
    before = _held()
    for round_ in range(3):
        session = harness.destination.open(harness.run(run_id=f"{round_:026d}"))
        session.send(batch_of([harness.record(30 + round_)]))
        session.close()
        session.close()
    deadline = time.monotonic() + 3
    while any(now > then for now, then in zip(_held(), before, strict=True)) and time.monotonic() < deadline:
        time.sleep(0.02)
    files, threads = (now - then for now, then in zip(_held(), before, strict=True))
    must(files <= 0, f"close() leaves {files} files or connections open after three sessions")
    must(threads <= 0, f"close() leaves {threads} threads running after three sessions")


def _held() -> tuple[int, int]:
    # The fakes' own ends of connections live in this process, too, and close a little later.
    return len(list(Path("/proc/self/fd").iterdir())), sum(
        not own.daemon and own is not threading.main_thread() for own in threading.enumerate()
    )
