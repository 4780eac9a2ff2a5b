"""A destination that counts, a planner without a warehouse, and a schedule of faults: what tests of the engine share."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from orchestration.activation.activate import Activation, Plan
from orchestration.activation.crash_points import CrashPoint
from orchestration.activation.ledger import Ledger, _engine
from orchestration.activation.lines import Line, LineField
from orchestration.activation.payload import Keys, PayloadFile, PayloadStore, PlannedRow
from orchestration.activation.push import Patience, Tools
from orchestration.activation.tables import METADATA
from orchestration.destinations.errors import (
    BatchRefused,
    NotSent,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
)
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Capabilities,
    Deferred,
    Destination,
    Finding,
    InDoubt,
    NotReceived,
    Outcome,
    Record,
    Rejected,
    RunInfo,
)
from orchestration.home import Home

Kind = Literal["by_batch", "by_record", "reconciles", "forgets", "whole"]
KEYS = Keys(b"k" * 32)


PATIENCE = Patience(retries=2, pauses=4, longest_pause=60, replays=2)


def quick_ledger() -> Ledger:
    """A ledger in memory; that the migrations make the same tables is a test of its own."""
    engine = _engine("sqlite://")
    METADATA.create_all(engine)
    return Ledger(engine)


class Crash(BaseException):
    """The process is gone, as far as anything that it does later is concerned."""


@dataclass
class Faults:
    """What goes wrong at each call, drawn from a seed; nothing when `rate` is 0."""

    random: random.Random
    rate: float = 0.0

    def draw(self) -> str:
        if self.random.random() >= self.rate:
            return ""
        return self.random.choice(
            [
                "lost",
                "late",
                "throttled",
                "throttled_long",
                "not_sent",
                "denied",
                "broken",
                "partly",
                "deferred",
            ]
        )


@dataclass
class Server:
    """The far side. It knows what arrived, whatever the near side believes."""

    kind: Kind
    bad: frozenset[str] = frozenset()
    faults: Faults = field(default_factory=lambda: Faults(random.Random(0)))
    delivered: Counter[tuple[str, str]] = field(
        default_factory=Counter
    )  # (key, value) → times it took effect
    calls: int = 0
    known: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    files: dict[str, list[Record]] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            idempotent=self.kind in ("by_batch", "by_record", "whole"),
            removes=True,
            reconciles=self.kind == "reconciles",
            batch_size=4,
            whole=self.kind == "whole",
        )

    def effects(self) -> Counter[tuple[str, str]]:
        """What took effect: for whole runs what the files hold."""
        if self.kind != "whole":
            return self.delivered
        return Counter((row.key, _value(row)) for rows in self.files.values() for row in rows)

    def take(self, batch: Batch) -> list[Outcome]:
        """Take a batch in, as a destination of its kind does: what it knows already has no further effect."""
        if self.kind == "by_batch" and batch.idempotency_key in self.known:
            told = self.known[batch.idempotency_key]
            return [told[row.idempotency_key] for row in batch.records]
        if self.kind == "by_batch" and any(row.key in self.bad for row in batch.records):
            raise BatchRefused("http_400")
        answer: list[Outcome] = []
        for row in batch.records:
            if row.key in self.bad:
                answer.append(Rejected("bad_number"))
                continue
            if self.kind != "by_record" or row.idempotency_key not in self.taken:
                self.delivered[row.key, _value(row)] += 1
                self.taken.add(row.idempotency_key)
            answer.append(Accepted())
        if self.kind == "by_batch":
            keys = [row.idempotency_key for row in batch.records]
            self.known[batch.idempotency_key] = dict(zip(keys, answer, strict=True))
        return answer


def _value(row: Record) -> str:
    return f"{row.operation}:{row.fields.get('value')}"


@dataclass
class FakeDestination:
    """Speaks the protocol to a `Server`."""

    server: Server
    name: str = "fake"
    dead: Callable[[], bool] = lambda: False
    opened: int = 0

    @property
    def capabilities(self) -> Capabilities:
        return self.server.capabilities

    def check(self) -> None:
        return

    def open(self, run: RunInfo) -> FakeSession:
        self.opened += 1
        return FakeSession(self.server, run)


class FakeSession:
    """One attempt."""

    def __init__(self, server: Server, run: RunInfo) -> None:
        self.server = server
        self.run = run
        self.part: list[Record] = []

    def send(self, batch: Batch) -> Sequence[Outcome]:
        server = self.server
        assert batch.records
        assert len(batch.records) <= server.capabilities.batch_size
        server.calls += 1
        fault = server.faults.draw()
        match fault:
            case "lost":
                raise OutcomeUnknown("timeout")
            case "throttled":
                raise Throttled("http_429", 5)
            case "throttled_long":
                raise Throttled("http_429", 999_999)
            case "not_sent":
                raise NotSent("connection_refused")
            case "denied":
                raise PermissionDenied("errcode_60020")
            case "deferred":
                return [Deferred("limit")] * len(batch.records)
        if server.kind == "whole":
            self.part += [row for row in batch.records if row.key not in server.bad]
            return [Rejected("bad") if row.key in server.bad else Accepted() for row in batch.records]
        answer: list[Outcome] = server.take(batch)
        if fault == "late":
            raise OutcomeUnknown("timeout")
        if fault == "broken":
            raise ValueError("13812345678 is what a careless destination says")
        if fault == "partly":
            return [
                outcome
                if server.faults.random.random() < 0.5 or server.kind == "by_batch"
                else InDoubt("partly")
                for outcome in answer
            ]
        return answer

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        server = self.server
        assert server.kind == "reconciles"
        if server.faults.draw() == "lost":
            raise OutcomeUnknown("timeout")
        if server.faults.draw() == "partly":
            return [InDoubt("too_early")] * len(batch.records)
        return [
            Rejected("bad_number")
            if row.key in server.bad and row.idempotency_key in server.taken
            else Accepted()
            if row.idempotency_key in server.taken
            else NotReceived()
            for row in batch.records
        ]

    def finish(self) -> None:
        if self.server.kind != "whole":
            return
        fault = self.server.faults.draw()
        if fault in ("throttled", "not_sent", "denied"):
            raise {"throttled": Throttled("slow"), "not_sent": NotSent("x"), "denied": PermissionDenied("x")}[
                fault
            ]
        if fault == "lost":
            raise OutcomeUnknown("timeout")
        self.server.files[self.run.run_id] = self.part
        if fault == "late":
            raise OutcomeUnknown("timeout")
        if fault == "broken":
            raise ValueError("13812345678")

    def close(self) -> None:
        self.part = []


def line(mode: str = "upsert", **more: object) -> Line:
    values: dict[str, object] = {
        "activation": "winback_fake",
        "title": "Win back",
        "audience": "winback",
        "destination": "fake",
        "mode": mode,
        "purpose": "marketing",
        "channel": "sms",
        "key": "phone",
        "fields": (LineField("value", "column", "orders_count"),),
    }
    return Line(**{**values, **more})  # type: ignore[arg-type]


@dataclass
class ListPlanner:
    """Plans as the real one does, from a dictionary: key → value."""

    ledger: Ledger
    audience: dict[str, str]
    version: str = "v1"
    objections: tuple[str, ...] = ()

    def source(self, line: Line) -> str:
        return self.version

    def plan(self, line: Line, destination: Destination, *, retry: bool = False) -> Plan:
        state = dict(pair for chunk in self.ledger.acknowledged(line.ledger_key) for pair in chunk)
        left_out = dict(
            pair for chunk in self.ledger.left_out(line.ledger_key, self.version) for pair in chunk
        )
        rows: list[PlannedRow] = []
        counts: Counter[str] = Counter()
        names = {KEYS.of_key(line.key, key): key for key in self.audience}
        wanted = {name: KEYS.of_row({"value": self.audience[key]}) for name, key in names.items()}
        todo = [(name, "upsert") for name in wanted]
        if line.mode == "mirror":
            todo += [(name, "remove") for name in state if name not in wanted]
        for name, operation in todo:
            change = (
                "removed"
                if operation == "remove"
                else "added"
                if name not in state
                else "unchanged"
                if state[name] == wanted[name] and line.mode != "full"
                else "changed"
            )
            reason = left_out.get(name, "")
            if reason == "accepted" or (reason == "rejected" and not retry):
                change = "unchanged"
            counts[change] += 1
            if change == "unchanged":
                continue
            key = names.get(name, f"gone-{name}")
            code = reason if reason in ("in_doubt", "deferred") else ""
            rows.append(
                PlannedRow(
                    len(rows),
                    f"user-{key}",
                    "" if code else key,
                    operation,  # type: ignore[arg-type]
                    {} if code or operation == "remove" else {"value": self.audience[key]},
                    name,
                    wanted.get(name, ""),
                    code,
                )
            )
        return Plan(
            self.version,
            dt.date(2026, 6, 30),
            len(self.audience),
            0,
            counts["added"],
            counts["changed"],
            counts["removed"],
            counts["unchanged"],
            dict(Counter(row.code for row in rows if row.code)),
            self.objections,
            lambda: iter([rows]) if rows else iter([]),
        )


class RowsInMemory:
    """Payloads without files, for schedules by the thousand."""

    kept: ClassVar[dict[str, list[Sequence[PlannedRow]]]] = {}

    def __init__(self, _: Home, run_id: str) -> None:
        self.run_id = run_id

    @property
    def exists(self) -> bool:
        return self.run_id in self.kept

    def write(self, rows: Iterable[Sequence[PlannedRow]]) -> int:
        self.kept[self.run_id] = list(rows)
        return sum(len(chunk) for chunk in self.kept[self.run_id])

    def chunks(self) -> Iterator[Sequence[PlannedRow]]:
        return iter(self.kept[self.run_id])

    def remove(self) -> None:
        self.kept.pop(self.run_id, None)


@dataclass
class Engine:
    """A push that can be killed: `crash` says at which passage of which point."""

    home: Home
    ledger: Ledger
    server: Server
    planner: ListPlanner
    line: Line = field(default_factory=line)
    refused: dict[str, str] = field(default_factory=dict)
    crash: Callable[[CrashPoint], bool] = lambda point: False
    patience: Patience = PATIENCE
    slept: list[float] = field(default_factory=list)
    told: list[object] = field(default_factory=list)
    passed: list[CrashPoint] = field(default_factory=list)
    payload: Callable[[Home, str], PayloadStore] = PayloadFile

    def tools(self, _: Line) -> Tools:
        def reach(point: CrashPoint) -> None:
            self.passed.append(point)
            if self.crash(point):
                raise Crash(point)

        def refused_now(users: Sequence[str]) -> Mapping[str, str]:
            return {user: reason for user, reason in self.refused.items() if user in users}

        return Tools(
            self.ledger,
            KEYS,
            refused_now,
            self.patience,
            self.slept.append,
            reach,
            self.told.append,
        )

    @property
    def activation(self) -> Activation:
        return Activation(self.home, self.tools, self.ledger, self.planner, self.payload)

    @property
    def destination(self) -> FakeDestination:
        return FakeDestination(self.server)


def engine(
    folder: Path, kind: Kind, audience: dict[str, str], ledger: Ledger | None = None, **more: object
) -> Engine:
    ledger = ledger or quick_ledger()
    bad = frozenset(key for key in audience if key.startswith("bad"))
    return Engine(Home(folder), ledger, Server(kind, bad), ListPlanner(ledger, audience), **more)  # type: ignore[arg-type]


def balances(ledger: Ledger, of: Line | None = None) -> Iterator[bool]:
    for run in ledger.runs(of.ledger_key if of else None):
        if run.is_closed:
            yield run.planned == run.accepted + run.rejected + run.in_doubt + run.held
