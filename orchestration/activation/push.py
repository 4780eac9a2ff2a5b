"""Sending what was planned: batches, halves, pauses, retries, and an outcome for every record.

The order of writing is what makes a crash harmless: `sending` is committed before a call, the answer after it. Whatever
is `sending` when a process dies may or may not have arrived; `resume` settles it by asking or by sending it again under
the same keys, and only where the destination promises that neither can do harm.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestration.activation import crash_points
from orchestration.activation.crash_points import CrashPoint
from orchestration.activation.ledger import INTERRUPTED, Ledger, Run, Settlement
from orchestration.activation.payload import Keys, Payload, PlannedRow
from orchestration.destinations.errors import (
    BatchRefused,
    DestinationError,
    NotSent,
    OutcomeUnknown,
    RunFailed,
    SwitchedOff,
    Throttled,
)
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Deferred,
    Destination,
    InDoubt,
    NotReceived,
    Outcome,
    Rejected,
    RunInfo,
    Session,
)

UNEXPECTED = "unexpected_error"
WRONG_ANSWER = "wrong_number_of_outcomes"


@dataclass(frozen=True)
class Patience:
    """How long the engine tries; seconds.

    retries: further tries of a call that was not sent, or whose outcome is unknown at an idempotent destination.
    pauses: throttled answers in a row after which the rest waits for the next run. unknown_in_a_row: calls in a row
    with an unknown outcome after which no further one is made. replays: rounds of settling what is in doubt in one run.
    """

    retries: int = 3
    first_wait: float = 1.0
    longest_wait: float = 60.0
    pauses: int = 20
    longest_pause: float = 3600.0
    unknown_in_a_row: int = 3
    replays: int = 2


@dataclass(frozen=True)
class Progress:
    """How far a run is: records done of all that will be tried, and what it waits for."""

    done: int
    planned: int
    waiting_for: str = ""


@dataclass
class Tools:
    """What a push works with; tests put other clocks and hooks in."""

    ledger: Ledger
    keys: Keys
    refused_now: Callable[[Sequence[str]], Mapping[str, str]]
    patience: Patience = Patience()
    sleep: Callable[[float], None] = time.sleep
    reach: Callable[[CrashPoint], None] = crash_points.reach
    tell: Callable[[Progress], None] = lambda progress: None


class _Stopped(Exception):
    """No further call is made in this run. `failed` when a person has to do something."""

    def __init__(self, code: str, hint: str, *, failed: bool = True) -> None:
        super().__init__(code)
        self.code, self.hint, self.failed = code, hint, failed


class Pusher:
    """Sends one run to one destination, from wherever the ledger says that it stands."""

    def __init__(
        self, tools: Tools, destination: Destination, run: Run, info: RunInfo, payload: Payload
    ) -> None:
        self.ledger, self.keys, self.patience = tools.ledger, tools.keys, tools.patience
        self.tools = tools
        self.destination = destination
        self.can = destination.capabilities
        self.run = run
        self.info = info
        self.payload = payload
        self.batch = 0
        self.done = 0
        self.throttled = 0
        self.unknown = 0

    def push(self) -> Run:
        """Settle what is in doubt, send what is planned, close the run. Raises LedgerError; nothing else of the call."""
        self.ledger.set_state(self.run.run_id, "running")
        self.ledger.interrupt(self.run.run_id)
        self.batch = self.ledger.last_batch(self.run.run_id)
        counts = self.ledger.counts(self.run.run_id)
        self.done = sum(counts.values()) - counts.get("planned", 0) - counts.get("in_doubt", 0)
        state: Literal["finished", "failed"] = "finished"
        reason = ""
        try:
            if counts.get("planned") or (counts.get("in_doubt") and self._may_settle):
                if self.can.whole:
                    self._push_whole()
                else:
                    self._push_batches()
        except _Stopped as stopped:
            if stopped.failed:
                state, reason = "failed", _told(stopped)
            self._note_switched_off(stopped)
            self.ledger.hold_rest(self.run.run_id, stopped.code)
        self.tools.reach("before_close")
        return self.ledger.close(self.run.run_id, state, reason)

    def settle_doubts(self) -> Run:
        """Settle what a closed run left in doubt; nothing that was planned is sent. Raises LedgerError."""
        self.batch = self.ledger.last_batch(self.run.run_id)
        reason = self.run.reason
        self.ledger.interrupt(self.run.run_id)
        if self._may_settle:
            try:
                if self.can.whole:
                    self._push_whole()
                else:
                    with self._session() as session:
                        self._settle(session)
            except _Stopped as stopped:
                reason = reason or _told(stopped)
                self._note_switched_off(stopped)
            self.ledger.hold_rest(self.run.run_id, "not_received")  # a new plan has its newest values
        return self.ledger.close(self.run.run_id, self.run.closed_as, reason)

    def _note_switched_off(self, stopped: _Stopped) -> None:
        if isinstance(stopped.__cause__, SwitchedOff):
            self.ledger.switch_off(self.run, stopped.code)

    @property
    def _may_settle(self) -> bool:
        return self.can.idempotent or self.can.reconciles

    # Sessions -----------------------------------------------------------------------------------------------------

    def _session(self) -> _Open:
        try:
            return _Open(self._trying(lambda: self.destination.open(self.info)))
        except DestinationError as error:
            raise _Stopped(error.code, error.hint) from error
        except Exception as error:
            raise _Stopped(UNEXPECTED, type(error).__name__) from error

    def _trying(self, call: Callable[[], Session]) -> Session:
        """Opening changes nothing at the destination: it is tried again after all that may pass."""
        wait = self.patience.first_wait
        for attempt in range(self.patience.retries + 1):
            try:
                return call()
            except Throttled as error:
                if attempt == self.patience.retries:
                    raise
                self._pause(error.retry_after if error.retry_after is not None else wait, error.code)
            except (NotSent, OutcomeUnknown) as error:
                if attempt == self.patience.retries:
                    raise
                self._pause(wait, error.code)
            wait = min(wait * 2, self.patience.longest_wait)
        raise AssertionError("unreachable")

    # Batches ------------------------------------------------------------------------------------------------------

    def _push_batches(self) -> None:
        with self._session() as session:
            self._settle(session)
            for _ in range(self.patience.replays):
                self._send_planned(session)
                if not self._settle(session):
                    break
            else:
                self._send_planned(session)
            self._finish_batches(session)

    def _finish_batches(self, session: Session) -> None:
        self.tools.reach("before_finish")
        try:
            session.finish()
        except DestinationError as error:
            raise _Stopped(error.code, error.hint) from error
        except Exception as error:
            raise _Stopped(UNEXPECTED, type(error).__name__) from error
        self.tools.reach("after_finish")

    def _send_planned(self, session: Session) -> None:
        for rows in self._planned():
            allowed = self._allowed(rows)
            if allowed:
                self._deliver(session, allowed)

    def _planned(self, states: Sequence[str] = ("planned",)) -> Iterator[list[PlannedRow]]:
        """Rows that are still to be sent, as many at a time as the destination takes."""
        waiting: list[PlannedRow] = []
        for chunk in self.payload.chunks():
            if not chunk:
                continue
            found = self.ledger.open_records(self.run.run_id, chunk[0].position, chunk[-1].position)
            for row in chunk:
                if found.get(row.position, ("", None))[0] in states:
                    waiting.append(row)
                if len(waiting) == self.can.batch_size:
                    yield waiting
                    waiting = []
        if waiting:
            yield waiting

    def _allowed(self, rows: list[PlannedRow]) -> list[PlannedRow]:
        """Those who may be reached at this moment; the others are held. What is taken away needs nobody's consent."""
        refused = self._refused(rows)
        held: dict[str, list[int]] = {}
        allowed = []
        for row in rows:
            if reason := refused.get(row.position):
                held.setdefault(reason, []).append(row.position)
            else:
                allowed.append(row)
        for reason, positions in held.items():
            self.ledger.hold(self.run.run_id, positions, reason)
            self._advance(len(positions))
        return allowed

    def _refused(self, rows: Sequence[PlannedRow]) -> dict[int, str]:
        """Position → reason of rows that are not sent now; one whose values were erased meanwhile cannot be any more."""
        found = self.tools.refused_now([row.user_id for row in rows if row.operation == "upsert"])
        reasons = (
            (row, row.code or (found.get(row.user_id) if row.operation == "upsert" else "")) for row in rows
        )
        return {row.position: reason for row, reason in reasons if reason}

    def _deliver(self, session: Session, rows: list[PlannedRow]) -> None:
        """Send planned rows until each has an outcome; a batch that is refused is halved until the bad rows stand alone."""
        todo = deque([rows])
        while todo:
            part = todo.popleft()
            try:
                answer = self._call(session, part)
            except BatchRefused as error:
                if len(part) == 1:
                    self._write(part, [Rejected(error.code)])
                    continue
                self.ledger.put_back(self.run.run_id, [row.position for row in part])
                middle = len(part) // 2
                todo.extendleft((part[middle:], part[:middle]))
                continue
            except (RunFailed, Throttled, NotSent) as error:
                self.ledger.put_back(self.run.run_id, [row.position for row in part])
                raise _Stopped(error.code, error.hint) from error
            self._write(part, answer)
            if self.unknown >= self.patience.unknown_in_a_row:
                raise _Stopped(
                    "too_many_unknown_outcomes", "The destination does not answer: look whether it works."
                )

    def _call(self, session: Session, part: list[PlannedRow]) -> Sequence[Outcome]:
        """One batch under one number, tried as often as that does no harm. Raises errors that mean: surely not taken.

        Once a try has an unknown outcome, only an answer settles it: whatever keeps the next tries out leaves the doubt.
        """
        self.batch += 1
        self._begin(part, self.batch)
        batch = self._batch(part, self.batch)
        wait = self.patience.first_wait
        tries = 0
        doubt = ""
        while True:
            self.tools.reach("after_sending")
            try:
                answer = self._send(session, batch)
            except BatchRefused:
                raise  # an idempotent destination that had taken it would have said so
            except OutcomeUnknown as error:
                doubt = error.code
                tries += 1
                if not self.can.idempotent or tries > self.patience.retries:
                    self.unknown += 1
                    return [InDoubt(doubt)] * len(part)
                self._pause(wait, error.code)
            except DestinationError as error:
                pause = self._pause_after(error, wait)
                tries += isinstance(error, NotSent)
                if pause is None or tries > self.patience.retries:
                    if not doubt:
                        raise
                    self._write(part, [InDoubt(doubt)] * len(part))
                    raise _Stopped(error.code, error.hint) from error
                if doubt:
                    self._pause(pause, error.code)
                else:  # a crash during the pause leaves no doubt behind
                    self.ledger.put_back(self.run.run_id, [row.position for row in part])
                    self._pause(pause, error.code)
                    self._begin(part, self.batch)
            else:
                self.throttled = self.unknown = 0
                return _still_doubtful(answer) if doubt else answer
            wait = min(wait * 2, self.patience.longest_wait)

    def _pause_after(self, error: DestinationError, wait: float) -> float | None:
        """Seconds after which a call that was surely not taken may be tried again; None: not in this run."""
        if isinstance(error, NotSent):
            return wait
        if not isinstance(error, Throttled):
            return None
        self.throttled += 1
        pause = wait if error.retry_after is None else error.retry_after
        return None if self.throttled > self.patience.pauses or pause > self.patience.longest_pause else pause

    def _begin(self, part: list[PlannedRow], batch: int) -> None:
        self.tools.reach("before_sending")
        self.ledger.begin(self.run.run_id, [row.position for row in part], batch, again=self.can.whole)

    def _send(self, session: Session, batch: Batch) -> Sequence[Outcome]:
        """The call itself. An error that no destination may raise leaves its batch in doubt and ends the run."""
        try:
            answer = session.send(batch)
        except DestinationError:
            raise
        except Exception as error:
            self._doubt(UNEXPECTED)
            raise _Stopped(UNEXPECTED, type(error).__name__) from error
        self.tools.reach("after_call")
        if len(answer) != len(batch.records):
            self._doubt(WRONG_ANSWER)
            raise _Stopped(WRONG_ANSWER, "The destination breaks its contract: run its contract tests.")
        return answer

    def _doubt(self, code: str) -> None:
        if not self.can.whole:
            self.ledger.interrupt(self.run.run_id, code)

    def _batch(self, rows: Sequence[PlannedRow], number: int) -> Batch:
        records = tuple(self.keys.record(self.run.run_id, row) for row in rows)
        return Batch(records, self.keys.of_batch(self.run.run_id, number))

    def _write(self, rows: Sequence[PlannedRow], answer: Sequence[Outcome]) -> None:
        self.ledger.settle(
            self.run, [_settlement(row, outcome) for row, outcome in zip(rows, answer, strict=True)]
        )
        self.tools.reach("after_outcomes")
        self._advance(len(rows))

    def _advance(self, rows: int) -> None:
        self.done += rows
        self.tools.tell(Progress(self.done, self.run.planned))

    def _pause(self, seconds: float, code: str) -> None:
        self.tools.tell(Progress(self.done, self.run.planned, f"{code}, {seconds:.0f} s"))
        self.tools.sleep(seconds)

    # What is in doubt ---------------------------------------------------------------------------------------------

    def _settle(self, session: Session) -> bool:
        """Ask about, or send again, all that is in doubt; whether there is something to send again."""
        if not self._may_settle:
            return False
        missing = False
        for number, rows in self._doubtful():
            self.tools.reach("before_replay")
            if self.can.reconciles:
                missing |= self._reconcile(session, number, rows)
            elif number > 0:
                missing |= self._replay(session, number, rows)
        return missing

    def _doubtful(self) -> Iterator[tuple[int, list[PlannedRow]]]:
        """Rows in doubt, in the batches in which they were sent."""
        expected = self.ledger.doubtful_batches(self.run.run_id)
        if not expected:
            return
        gathered: dict[int, list[PlannedRow]] = {}
        for chunk in self.payload.chunks():
            if not chunk:
                continue
            found = self.ledger.open_records(self.run.run_id, chunk[0].position, chunk[-1].position)
            for row in chunk:
                state, batch = found.get(row.position, ("", None))
                if state == "in_doubt" and batch is not None:
                    gathered.setdefault(batch, []).append(row)
                    if len(gathered[batch]) == expected.get(batch):
                        yield batch, gathered.pop(batch)

    def _left_to_a_person(
        self, number: int, rows: list[PlannedRow], refused: Mapping[int, str]
    ) -> list[PlannedRow]:
        """Set aside those of a doubtful batch who are refused; the others."""
        for row in rows:
            if row.position in refused:
                self.ledger.set_aside(self.run.run_id, [row.position], abs(number), refused[row.position])
        return [row for row in rows if row.position not in refused]

    def _reconcile(self, session: Session, number: int, rows: list[PlannedRow]) -> bool:
        # Who was erased cannot be asked about.
        rows = self._left_to_a_person(number, rows, {row.position: row.code for row in rows if row.code})
        if not rows:
            return False
        try:
            findings = session.reconcile(self._batch(rows, number))
        except RunFailed as error:
            raise _Stopped(error.code, error.hint) from error
        except DestinationError:
            return False  # it stays in doubt; the next run asks again
        except Exception as error:
            raise _Stopped(UNEXPECTED, type(error).__name__) from error
        if len(findings) != len(rows):
            raise _Stopped(WRONG_ANSWER, "The destination breaks its contract: run its contract tests.")
        self.tools.reach("after_replay")
        again = [
            row.position for row, one in zip(rows, findings, strict=True) if isinstance(one, NotReceived)
        ]
        told = [
            _settlement(row, one)
            for row, one in zip(rows, findings, strict=True)
            if not isinstance(one, NotReceived)
        ]
        self.ledger.settle(self.run, told)
        self.ledger.put_back(self.run.run_id, again)
        return bool(again)

    def _replay(self, session: Session, number: int, rows: list[PlannedRow]) -> bool:
        """Send a batch again under its old keys; whether it turned out not to have been taken.

        Whoever may not be reached any more is left to a person: sent again without them, the batch is not the one that
        the destination knows under this key.
        """
        refused = self._refused(rows)
        rows = self._left_to_a_person(number, rows, refused)
        if not rows:
            return False
        positions = [row.position for row in rows]
        self._begin(rows, number)
        batch = self._batch(rows, number)
        wait = self.patience.first_wait
        for attempt in range(self.patience.retries + 1):
            self.tools.reach("after_sending")
            try:
                answer = self._send(session, batch)
            except RunFailed as error:
                self.ledger.interrupt(self.run.run_id, error.code)
                raise _Stopped(error.code, error.hint) from error
            except BatchRefused:
                self.ledger.put_back(self.run.run_id, positions)
                return True
            except DestinationError as error:
                if attempt == self.patience.retries:
                    break
                hinted = error.retry_after if isinstance(error, Throttled) else None
                self._pause(min(wait if hinted is None else hinted, self.patience.longest_pause), error.code)
            else:
                self.tools.reach("after_replay")
                self._write(rows, _still_doubtful(answer))
                return False
            wait = min(wait * 2, self.patience.longest_wait)
        self.ledger.interrupt(self.run.run_id, INTERRUPTED)
        return False

    # Whole runs ---------------------------------------------------------------------------------------------------

    def _push_whole(self) -> None:
        """Everything becomes visible at once, or nothing. An earlier attempt of the run is repeated under its run_id."""
        for attempt in range(self.patience.replays + 1):
            doubtful = self._is_doubtful()
            if doubtful and not self.can.idempotent:
                with self._session() as session:
                    self._settle(session)
                if self._is_doubtful():
                    raise _Stopped("in_doubt", "", failed=False)
                doubtful = False
                if "planned" not in self.ledger.counts(self.run.run_id):
                    return
            with self._session() as session:
                try:
                    self._attempt(session)
                except OutcomeUnknown as error:
                    code, hint = error.code, error.hint
                except (DestinationError, _Stopped) as error:
                    # Nothing is visible before the end: as doubtful as before, not more.
                    code, hint = error.code, error.hint
                    self.ledger.put_all_back(
                        self.run.run_id, "in_doubt" if doubtful else "planned", code if doubtful else ""
                    )
                    if not isinstance(error, (Throttled, NotSent)):
                        raise _Stopped(code, hint) from error
                else:
                    return
            if attempt < self.patience.replays:
                self._pause(self.patience.first_wait * 2**attempt, code)
        raise _Stopped(code, hint)

    def _is_doubtful(self) -> bool:
        return "in_doubt" in self.ledger.counts(self.run.run_id)

    def _attempt(self, session: Session) -> None:
        """One attempt at a whole run. Raises OutcomeUnknown when only the end is in doubt, so that everything is; else what
        means that surely nothing became visible."""
        self.done = 0
        for rows in self._planned(("planned", "in_doubt")):
            allowed = self._allowed(rows)
            todo = deque([allowed] if allowed else [])
            while todo:
                part = todo.popleft()
                self.batch += 1
                self._begin(part, self.batch)
                self.tools.reach("after_sending")
                try:
                    answer = self._send(session, self._batch(part, self.batch))
                except BatchRefused as error:
                    if len(part) > 1:
                        middle = len(part) // 2
                        todo.extendleft((part[middle:], part[:middle]))
                        continue
                    answer = [Rejected(error.code)]
                except OutcomeUnknown as error:
                    raise NotSent(error.code, error.hint) from error  # nothing is visible before the end
                if any(isinstance(outcome, InDoubt) for outcome in answer):
                    raise NotSent("in_doubt")
                told = [
                    _settlement(row, outcome)
                    for row, outcome in zip(part, answer, strict=True)
                    if not isinstance(outcome, Accepted)
                ]
                if told:
                    self.ledger.settle(self.run, told)
                self.tools.reach("after_outcomes")
                self._advance(len(part))
        self.tools.reach("before_finish")
        try:
            session.finish()
        except OutcomeUnknown as error:
            self.ledger.interrupt(self.run.run_id, error.code)
            raise
        except DestinationError:
            raise
        except Exception as error:
            self.ledger.interrupt(self.run.run_id, UNEXPECTED)
            raise _Stopped(UNEXPECTED, type(error).__name__) from error
        self.tools.reach("after_finish")
        self.ledger.accept_all(self.run)


class _Open:
    """An open session, closed however the push ends."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Session:
        return self._session

    def __exit__(self, *_: object) -> None:
        self._session.close()


def _still_doubtful(answer: Sequence[Outcome]) -> list[Outcome]:
    """Answers to a call that went before with an unknown outcome: "not now" says nothing of what became of that one."""
    return [InDoubt(one.code) if isinstance(one, Deferred) else one for one in answer]


def _settlement(row: PlannedRow, outcome: Outcome) -> Settlement:
    match outcome:
        case Accepted():
            return Settlement(row.position, "accepted")
        case Rejected(code):
            return Settlement(row.position, "rejected", code)
        case Deferred(code, until):
            return Settlement(row.position, "held", code, until)
        case InDoubt(code):
            return Settlement(row.position, "in_doubt", code)


def _told(stopped: _Stopped) -> str:
    return f"{stopped.code}: {stopped.hint}" if stopped.hint else stopped.code
