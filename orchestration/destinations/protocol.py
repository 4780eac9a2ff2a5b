"""What the engine and a destination promise each other.

A destination is small: it turns records into calls and answers into outcomes. Everything that must never go wrong
(what was sent already, resuming, retries, halving, approvals, consent) is the engine's.

The engine promises a destination
- to call `check` never during a run, `open` once per attempt at a run, then `send` with at most `batch_size` records at
  a time, from one thread (a destination may use threads inside `send`), then `finish` if all were sent, and always `close`;
- not to call `open` at all when there is nothing to send: an empty audience makes no call;
- that each record was written to the ledger as `sending` before `send` is called with it;
- to send a batch again after OutcomeUnknown only if `idempotent`, then with the same `idempotency_key`s and, if nobody
  decided a part of it in between, the same records in the same order.

A destination promises the engine
- one outcome per record, in the order of the records; or one of the errors of `orchestration.destinations.errors`,
  which then holds for every record of the batch;
- to answer Accepted only when the destination acknowledged the record (with `whole`: when `finish` returns);
- that nothing it logs or raises holds a key, a field, a secret or a URL's query.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from pydantic import JsonValue

from orchestration.destinations.errors import safe_code

Operation = Literal["upsert", "remove"]
Mode = Literal["full", "insert", "update", "upsert", "mirror"]


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """One row for the destination. `key` and `fields` are personal data: no representation shows them.

    key: identifier of the declared type (a phone number, a contact_id, …). `fields` holds the declared fields under the
    destination's names; it is empty when the operation is `remove`. `idempotency_key` is the same whenever this row of
    this run is sent again, and 32 hexadecimal digits.
    """

    key: str
    operation: Operation
    fields: Mapping[str, JsonValue]
    idempotency_key: str

    def __repr__(self) -> str:
        return f"<Record {self.operation} {self.idempotency_key[:8]}>"


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one call. `idempotency_key` (32 hexadecimal digits) stays the same when the batch is sent again."""

    records: tuple[Record, ...]
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The destination acknowledged the record."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The destination refused this record for good; it becomes a dead letter."""

    code: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", safe_code(self.code))


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Nobody knows yet whether the destination took the record."""

    code: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", safe_code(self.code))


@dataclass(frozen=True, slots=True)
class Deferred:
    """Surely not taken, and right in itself: this receiver's own limit. A later run tries it again, not before `until`."""

    code: str
    until: dt.datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", safe_code(self.code))


@dataclass(frozen=True, slots=True)
class NotReceived:
    """Only from `reconcile`: the destination surely has not taken the record, and cannot take that call any more."""


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What became of a record that the destination made a task of. Personal data: no representation shows it.

    made_at: when the task was made; at: when it was sent, or was told to have failed. Both aware. by: the member of staff.
    """

    key: str
    status: Literal["sent", "failed"]
    made_at: dt.datetime
    at: dt.datetime
    by: str = ""

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


Outcome: TypeAlias = Accepted | Rejected | InDoubt | Deferred
Finding: TypeAlias = Accepted | Rejected | InDoubt | NotReceived


@dataclass(frozen=True)
class Capabilities:
    """What a destination can do.

    idempotent: sending a record again with the same keys has no further effect (also with `whole`: a run that is
    repeated under its `run_id` replaces or finds its own earlier result).
    removes: takes the operation `remove`. reconciles: `reconcile` can tell what became of a record.
    whole: records become visible together at `finish` (files, tables); Accepted from `send` means "fine so far".
    required_fields: names that an activation line must declare under `fields`.
    answers: Accepted means that a task was made, which somebody has still to carry out; the destination is an `Answering` one.
    """

    idempotent: bool
    removes: bool
    reconciles: bool
    batch_size: int
    whole: bool = False
    required_fields: frozenset[str] = frozenset()
    answers: bool = False


@dataclass(frozen=True)
class RunInfo:
    """One run of one activation line. Nothing here is personal data.

    run_id: 26 lower-case letters and digits, sortable by time, the same when the run is resumed; fit for a file name.
    fields: the names that each record's `fields` has, in the declared order. options: constants of the line (`options:`
    in its spec), for what does not differ from record to record (a tag's name, a template, a text).
    planned: records that the run will send at most. started_at is aware.
    """

    run_id: str
    activation: str
    audience: str
    destination: str
    as_of: dt.date
    mode: Mode
    purpose: str
    channel: str
    key_type: str
    fields: tuple[str, ...]
    planned: int
    started_at: dt.datetime
    options: Mapping[str, JsonValue] = field(default_factory=dict)


class Session(Protocol):
    """One attempt at a run."""

    def send(self, batch: Batch) -> Sequence[Outcome]:
        """Send a batch: one outcome per record, in order. Raises DestinationError for all of them together."""
        ...

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        """What became of records of an earlier call whose outcome is unknown; sends nothing. Raises DestinationError.

        Never called unless `reconciles`. InDoubt when it cannot be told yet.
        """
        ...

    def finish(self) -> None:
        """All were sent. With `whole`, makes them visible, all or none. Raises DestinationError."""
        ...

    def close(self) -> None:
        """Give back what the session holds; discard what was not finished. Never raises."""
        ...


class Destination(Protocol):
    """A configured place to send to."""

    @property
    def name(self) -> str:
        """Its name in the home's destinations.yml."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; constant, no call."""
        ...

    def check(self) -> None:
        """See that settings, secrets and the connection are right; changes nothing there. Raises DestinationError."""
        ...

    def open(self, run: RunInfo) -> Session:
        """Begin an attempt at a run. Raises DestinationError."""
        ...


@runtime_checkable
class Answering(Protocol):
    """A destination that tells later what became of what it accepted."""

    def answers(self, since: dt.datetime, until: dt.datetime) -> Iterator[Answer]:
        """Of all tasks made in this time, those that were carried out or failed. Raises DestinationError."""
        ...
