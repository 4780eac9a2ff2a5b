"""One push of one line, from what earlier runs left behind to the new run's end."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestration.activation.crash_points import CrashPoint
from orchestration.activation.ledger import Ledger, NewRecord, NewRun, Run
from orchestration.activation.lines import Line
from orchestration.activation.payload import PayloadFile, PayloadStore, PlannedRow
from orchestration.activation.push import Pusher, Tools
from orchestration.destinations.protocol import Destination, Mode, RunInfo
from orchestration.errors import JingxiError, LockedError
from orchestration.home import Home

SUPERSEDED = "superseded"
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


class HomeWriteError(JingxiError):
    """A file that a push needs in the home cannot be written or read: the disk is full, or may only be read."""

    def __init__(self, home: Home, line: Line, error: OSError) -> None:
        cause = os.strerror(error.errno) if error.errno else type(error).__name__
        super().__init__(
            f"{line.activation}: {home.path} cannot be written or read: {cause}. Nothing was sent that the ledger does not "
            "know of; push again when that is repaired."
        )


@dataclass(frozen=True)
class Plan:
    """What a line has to say to its destination now. `rows` may be read once.

    source_rows: members of the audience who are not held out. objections: why a person has to look first, in sentences
    without personal data. held: rows that are not tried, by reason.
    """

    source: str
    as_of: dt.date
    source_rows: int
    held_out: int
    added: int
    changed: int
    removed: int
    unchanged: int
    held: Mapping[str, int]
    objections: Sequence[str]
    rows: Callable[[], Iterator[Sequence[PlannedRow]]]
    close: Callable[[], None] = lambda: None

    @property
    def planned(self) -> int:
        """Rows of the run, held ones included."""
        return self.added + self.changed + self.removed

    @property
    def sendable(self) -> int:
        """Rows that would be sent."""
        return self.planned - sum(self.held.values())

    def to_dict(self) -> dict[str, Any]:
        """Numbers only."""
        return {
            "as_of": self.as_of.isoformat(),
            "source_rows": self.source_rows,
            "held_out": self.held_out,
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
            "unchanged": self.unchanged,
            "held": dict(self.held),
            "objections": list(self.objections),
        }


class Planner(Protocol):
    """Says what is published now, and what of it a line's destination does not have."""

    def source(self, line: Line) -> str:
        """What a plan of this line would be made from now."""
        ...

    def plan(self, line: Line, destination: Destination, *, retry: bool = False) -> Plan:
        """The difference between what is published and what was acknowledged. Raises JingxiError."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a push of a line did: the run that it made or went on with (None: nothing to send), and earlier ones that it
    settled. `switched_off`: why its destination is not called at all any more, in a sentence."""

    line: Line
    run: Run | None
    held_out: int = 0
    held_by: Mapping[str, int] = field(default_factory=dict)
    rejected_by: Mapping[str, int] = field(default_factory=dict)
    settled: tuple[Run, ...] = ()
    in_doubt: int = 0
    switched_off: str = ""

    @property
    def awaits_approval(self) -> bool:
        """Whether a person has to look first."""
        return self.run is not None and self.run.state == "awaiting_approval"

    @property
    def ok(self) -> bool:
        """Whether nothing is left for a person to do but to look at dead letters."""
        return (
            not self.in_doubt and not self.switched_off and (self.run is None or self.run.state == "finished")
        )

    @property
    def sentence(self) -> str:
        """What a person has to do, if anything."""
        if self.run is not None and self.awaits_approval:
            return f"{self.run.reason} When that is right: jingxi push --approve {self.run.run_id}"
        if self.switched_off:
            return self.switched_off
        if self.run is not None and self.run.state == "failed":
            return f"{self.line.activation}: {self.run.reason}"
        if self.in_doubt:
            return f"{self.line.activation}: {self.in_doubt:,} records are in doubt: jingxi push --runs"
        return "Nothing waits for a person."

    def to_dict(self) -> dict[str, Any]:
        """Numbers and codes, as JSON types."""
        run = self.run
        return {
            "activation": self.line.activation,
            "audience": self.line.audience,
            "destination": self.line.destination,
            "mode": self.line.mode,
            "run": run.run_id if run else None,
            "state": run.state if run else "switched_off" if self.switched_off else "nothing_to_send",
            "reason": self.switched_off or (run.reason if run else ""),
            **{
                name: getattr(run, name) if run else 0
                for name in (
                    *("source_rows", "added", "changed", "removed", "unchanged"),
                    *("planned", "accepted", "rejected", "held"),
                )
            },
            "in_doubt": self.in_doubt,
            "held_out": self.held_out,
            "held_by": dict(self.held_by),
            "rejected_by": dict(self.rejected_by),
            "settled": [one.run_id for one in self.settled],
        }


class Activation:
    """Pushes lines of one home."""

    def __init__(
        self,
        home: Home,
        tools: Callable[[Line], Tools],
        ledger: Ledger,
        planner: Planner,
        payload: Callable[[Home, str], PayloadStore] = PayloadFile,
    ) -> None:
        self.home = home
        self.payload = payload
        self.tools = tools
        self.ledger = ledger
        self.planner = planner

    def push(
        self, line: Line, destination: Destination, *, approve: str | None = None, retry: bool = False
    ) -> Outcome:
        """Finish what was begun, settle what is in doubt, plan, and send. One push of a line at a time.

        `approve`: the run that a person lets go. `retry`: what the destination refused for good is tried again: dead
        letters of what is published now, and the destination itself when it had been switched off. Raises
        LockedError when the line is being pushed, HomeWriteError when a file of the home cannot be written, and JingxiError.
        """
        try:
            with line_lock(self.home, line.activation):
                return self._push(line, destination, approve, retry)
        except OSError as error:
            raise HomeWriteError(self.home, line, error) from error

    def _push(self, line: Line, destination: Destination, approve: str | None, retry: bool) -> Outcome:
        tools = self.tools(line)
        source = self.planner.source(line)
        if retry:
            self.ledger.switch_on(line.destination)
        elif line.destination in self.ledger.switched_off():
            return self._outcome(line, None, ())
        settled: list[Run] = []
        current: Run | None = None
        for run in reversed(
            self.ledger.runs(line.ledger_key, states=("planned", "awaiting_approval", "running"))
        ):
            if run.state == "awaiting_approval" and run.run_id == approve:
                self.ledger.approve(run.run_id, run.reason)
                self.ledger.set_state(run.run_id, "running")
                current = self._send(tools, line, destination, run)
            elif run.state == "awaiting_approval" and run.source == source and not retry:
                return self._outcome(line, run, settled)
            elif run.state == "running" and (run.source == source or destination.capabilities.whole):
                current = self._send(tools, line, destination, run)
            else:  # of an older publication, or never begun: what was not tried is planned anew
                self.ledger.interrupt(run.run_id)
                self.ledger.hold_rest(run.run_id, SUPERSEDED)
                settled.append(
                    self._closed(destination, self.ledger.close(run.run_id, "superseded", run.reason))
                )
        for run in reversed(self.ledger.runs(line.ledger_key, in_doubt=True)):
            settled.append(self._settle(tools, line, destination, run))
        if current is not None and current.source == source:
            return self._outcome(line, self.ledger.run(current.run_id), settled)
        plan = self.planner.plan(line, destination, retry=retry)
        try:
            if not plan.sendable and (not plan.planned or self._told_before(line, plan)):
                return self._outcome(line, None, settled, plan)
            run = self._record(tools.reach, line, plan)
        finally:
            plan.close()
        if plan.objections:
            self.ledger.set_state(run.run_id, "awaiting_approval", _sentences(plan.objections))
            return self._outcome(line, self.ledger.run(run.run_id), settled, plan)
        self.ledger.set_state(run.run_id, "running")
        tools.reach("after_plan")
        run = self._send(tools, line, destination, run)
        return self._outcome(line, run, settled, plan)

    def dry_run(self, line: Line, destination: Destination, *, retry: bool = False) -> Plan:
        """What a push would plan now; nothing is written, no call is made."""
        plan = self.planner.plan(line, destination, retry=retry)
        plan.close()
        return plan

    def _told_before(self, line: Line, plan: Plan) -> bool:
        """Whether an earlier run from the same source said already who is held, and nothing else is to be said."""
        last = self.ledger.runs(line.ledger_key, limit=1)
        return bool(last) and last[0].is_closed and last[0].source == plan.source

    def _record(self, reach: Callable[[CrashPoint], None], line: Line, plan: Plan) -> Run:
        """Write the payload, then the run. In between nothing knows of the payload: it is swept later."""
        run_id = new_run_id()
        payload = self.payload(self.home, run_id)
        self._sweep()

        def rows() -> Iterator[Sequence[PlannedRow]]:
            for chunk in plan.rows():
                reach("while_planning")
                yield chunk

        new = NewRun(
            run_id,
            line.ledger_key,
            line.audience,
            line.mode,
            plan.source,
            plan.as_of,
            plan.source_rows,
            plan.added,
            plan.changed,
            plan.removed,
            plan.unchanged,
        )
        try:
            payload.write(rows())
            reach("after_payload")
            return self.ledger.create_run(new, _records(payload.chunks()))
        except Exception:
            payload.remove()  # values of people that nothing would come back for
            raise

    def _sweep(self) -> None:
        """Remove payloads of runs that the ledger does not know, or that are over without a doubt."""
        folder = self.home.path / "activation"
        for file in [*folder.glob("*.parquet"), *folder.glob("*.part")]:
            if time.time() - file.stat().st_mtime < 60:  # another line is just being planned
                continue
            known = [run for run in self.ledger.runs_by_id([file.stem]) if not run.is_closed or run.in_doubt]
            if not known:
                file.unlink(missing_ok=True)

    def _send(self, tools: Tools, line: Line, destination: Destination, run: Run) -> Run:
        payload = self.payload(self.home, run.run_id)
        if not payload.exists:
            self.ledger.interrupt(run.run_id)
            self.ledger.hold_rest(run.run_id, "payload_lost")
            return self.ledger.close(run.run_id, "failed", "payload_lost: its rows are gone; push again.")
        done = Pusher(tools, destination, run, run_info(line, run), payload).push()
        tools.reach("after_close")
        return self._closed(destination, done)

    def _settle(self, tools: Tools, line: Line, destination: Destination, run: Run) -> Run:
        payload = self.payload(self.home, run.run_id)
        if not payload.exists:
            return run  # only a person can say
        done = Pusher(tools, destination, run, run_info(line, run), payload).settle_doubts()
        return self._closed(destination, done)

    def _closed(self, destination: Destination, run: Run) -> Run:
        """Forget the rows of a run of which nothing will be sent or asked any more."""
        can = destination.capabilities
        if not run.in_doubt or not (can.idempotent or can.reconciles):
            self.payload(self.home, run.run_id).remove()
        return run

    def _outcome(
        self, line: Line, run: Run | None, settled: Sequence[Run], plan: Plan | None = None
    ) -> Outcome:
        return Outcome(
            line,
            run,
            held_out=plan.held_out if plan else 0,
            held_by=self.ledger.reasons(run.run_id) if run else (plan.held if plan else {}),
            rejected_by=self.ledger.reasons(run.run_id, "rejected") if run else {},
            settled=tuple(settled),
            in_doubt=sum(one.in_doubt for one in self.ledger.runs(line.ledger_key, in_doubt=True)),
            switched_off=off.sentence if (off := self.ledger.switched_off().get(line.destination)) else "",
        )


def _records(chunks: Iterable[Sequence[PlannedRow]]) -> Iterator[NewRecord]:
    for chunk in chunks:
        for row in chunk:
            yield NewRecord(row.position, row.key_hash, row.row_hash, row.operation, row.code)


def run_info(line: Line, run: Run) -> RunInfo:
    """The run as a destination sees it."""
    mode: Mode = line.mode
    return RunInfo(
        run_id=run.run_id,
        activation=line.activation,
        audience=line.audience,
        destination=line.destination,
        as_of=run.as_of,
        mode=mode,
        purpose=line.purpose,
        channel=line.channel,
        key_type=line.key,
        fields=tuple(one.name for one in line.fields),
        planned=run.planned,
        started_at=(run.started_at or run.created_at).replace(tzinfo=dt.UTC),
        options=line.options,
    )


def new_run_id(now: float | None = None) -> str:
    """26 lower-case letters and digits, sortable by time."""
    number = (int((now or time.time()) * 1000) << 80) | secrets.randbits(80)
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(125, -1, -5))


@contextmanager
def line_lock(home: Home, activation: str) -> Iterator[None]:
    """One push of a line at a time; the lock dies with its holder. Raises LockedError."""
    folder = home.path / "activation"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{activation}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                f"The activation {activation} is being pushed by another process. Push again when that is done."
            ) from error
        yield
    finally:
        os.close(descriptor)


def _sentences(objections: Sequence[str]) -> str:
    """Several objections, one after the other, each ended."""
    return " ".join(text if text.endswith(".") else f"{text}." for text in objections)
