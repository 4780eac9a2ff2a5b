"""The ledger: every record of every run with what became of it, and what each destination has acknowledged.

It outlives the warehouse and is never rebuilt from it. SQLite in the home by default, PostgreSQL by setting. States move
only as `Ledger` lets them: planned → sending → accepted | rejected | in_doubt, planned → held; in_doubt → accepted |
rejected | held after a replay, a reconciliation or a person's decision. A run cannot close before every record is
accounted for: the database refuses it.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from orchestration.activation.tables import (
    ACKNOWLEDGED,
    APPROVALS,
    CLOSED,
    HEAD,
    RECORDS,
    RUNS,
    SWITCHED_OFF,
)
from orchestration.destinations.protocol import Operation
from orchestration.errors import JingxiError
from orchestration.home import Home

Settled = Literal["accepted", "rejected", "in_doubt", "held"]
ClosedState = Literal["finished", "failed", "superseded"]
INTERRUPTED = "interrupted"

_MIGRATIONS = Path(__file__).with_name("migrations")
_CHUNK = 500
_BUSY_SECONDS = 60
_RUN_OF_A_MESSAGE = dt.timedelta(days=31)
_CAUSES = {
    "SQLITE_FULL": "its disk is full",
    "SQLITE_READONLY": "it may only be read",
    "SQLITE_CANTOPEN": "its file cannot be opened or made; may this user write there, is the disk full?",
    "SQLITE_IOERR": "its disk is full or fails",
    "SQLITE_BUSY": "another program keeps it locked",
    "SQLITE_CORRUPT": "its file is damaged; restore it from a backup",
    "SQLITE_NOTADB": "its file is no database; restore it from a backup",
}


class LedgerError(JingxiError):
    """The ledger cannot be read or written. Nothing is sent that it does not know of."""


@dataclass(frozen=True)
class LineKey:
    """What the ledger keeps state for: one activation line and the destination that it goes to."""

    activation: str
    destination: str


@dataclass(frozen=True)
class NewRun:
    """A run as it is planned. `source` names publication and declaration that it was planned from."""

    run_id: str
    line: LineKey
    audience: str
    mode: str
    source: str
    as_of: dt.date
    source_rows: int
    added: int
    changed: int
    removed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record as it is planned; with a `code` it is held from the start."""

    position: int
    key_hash: str
    row_hash: str
    operation: Operation
    code: str = ""


@dataclass(frozen=True)
class Run:
    """A run as the ledger has it. Times are UTC without a zone."""

    run_id: str
    activation: str
    audience: str
    destination: str
    mode: str
    source: str
    as_of: dt.date
    state: str
    reason: str
    source_rows: int
    added: int
    changed: int
    removed: int
    unchanged: int
    planned: int
    accepted: int
    rejected: int
    in_doubt: int
    held: int
    created_at: dt.datetime
    started_at: dt.datetime | None
    closed_at: dt.datetime | None

    @property
    def is_closed(self) -> bool:
        """Whether it is over."""
        return self.state in CLOSED

    @property
    def closed_as(self) -> ClosedState:
        """How it ended."""
        match self.state:
            case "finished" | "failed" | "superseded":
                return self.state
            case _:
                raise LedgerError(f"The run {self.run_id} is not over.")

    @property
    def line(self) -> LineKey:
        """The line that it belongs to."""
        return LineKey(self.activation, self.destination)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one record that was sent. `changed_at` is aware, UTC."""

    position: int
    key_hash: str
    state: str
    changed_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Message:
    """One record of a line that reached somebody, or may have. `touch_id` is the one of its delivery; `at` is aware, UTC."""

    line: LineKey
    touch_id: str
    key_hash: str
    at: dt.datetime


@dataclass(frozen=True)
class SwitchOff:
    """A destination that its receiver has switched off, as a run of a line was told. `at` is aware, UTC."""

    destination: str
    activation: str
    run_id: str
    code: str
    at: dt.datetime

    @property
    def sentence(self) -> str:
        """What a person has to do."""
        return (
            f"The receiver of {self.destination} switched it off on {self.at:%Y-%m-%d} ({self.code}): nothing is sent there. "
            f"When it is on again: jingxi retry {self.activation}"
        )


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one record."""

    position: int
    state: Settled
    code: str = ""
    not_before: dt.datetime | None = None


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Ledger:
    """All reading and writing of the ledger. Safe to be opened by several processes; one pushes a line at a time."""

    def __init__(self, engine: sa.Engine, *, now: Callable[[], dt.datetime] = _utc_now) -> None:
        self._engine = engine
        self._clock = now

    @classmethod
    def open(cls, home: Home, url: str | None = None, *, now: Callable[[], dt.datetime] = _utc_now) -> Ledger:
        """The ledger of a home, migrated to what this code needs. Raises LedgerError."""
        file = home.path / "ledger.sqlite"
        if url is None:
            home.path.mkdir(parents=True, exist_ok=True)
        return cls.at(url or f"sqlite:///{file}", file if url is None else None, now=now)

    @classmethod
    def at(cls, url: str, file: Path | None = None, *, now: Callable[[], dt.datetime] = _utc_now) -> Ledger:
        """The ledger at an SQLAlchemy URL; `file` is set to mode 0600. Raises LedgerError."""
        try:
            engine = _engine(url)
            ledger = cls(engine, now=now)
            try:
                with _told(engine):
                    ledger._migrate()
                    if file is not None:
                        file.chmod(0o600)
            except BaseException:
                engine.dispose()
                raise
        except (sa.exc.ArgumentError, ImportError, OSError) as error:
            raise LedgerError(
                f"The ledger cannot be opened ({type(error).__name__}): look at the setting activation.ledger_url."
            ) from error
        return ledger

    def dispose(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    @property
    def place(self) -> str:
        """Where it lies, without a password."""
        return self._engine.url.render_as_string(hide_password=True)

    def _now(self) -> dt.datetime:
        return self._clock().astimezone(dt.UTC).replace(tzinfo=None)

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            if sa.inspect(connection).has_table("alembic_version"):
                found = connection.execute(sa.text("select version_num from alembic_version")).scalar()
                if found == HEAD:
                    return
        from alembic import command, util
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, HEAD)
            except util.CommandError as error:
                raise LedgerError(
                    f"The ledger {self.place} was written by a newer version of Jingxi: install that version."
                ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with _told(self._engine), self._engine.begin() as connection:
            yield connection

    # Runs -------------------------------------------------------------------------------------------------------

    def create_run(self, run: NewRun, records: Iterable[NewRecord]) -> Run:
        """Write a planned run with all its records, all or nothing. Memory is bounded by the caller's iterator."""
        now = self._now()
        with self._transaction() as connection:
            connection.execute(
                sa.insert(RUNS).values(
                    run_id=run.run_id,
                    activation=run.line.activation,
                    audience=run.audience,
                    destination=run.line.destination,
                    mode=run.mode,
                    source=run.source,
                    as_of=run.as_of,
                    state="planned",
                    source_rows=run.source_rows,
                    added=run.added,
                    changed=run.changed,
                    removed=run.removed,
                    unchanged=run.unchanged,
                    planned=0,
                    created_at=now,
                )
            )
            planned = 0
            statement = sa.insert(RECORDS)
            for chunk in _batched(records, 5_000):
                planned += len(chunk)
                connection.execute(
                    statement,
                    [
                        {
                            "run_id": run.run_id,
                            "position": record.position,
                            "key_hash": record.key_hash,
                            "row_hash": record.row_hash,
                            "operation": record.operation,
                            "state": "held" if record.code else "planned",
                            "code": record.code,
                        }
                        for record in chunk
                    ],
                )
            connection.execute(sa.update(RUNS).where(RUNS.c.run_id == run.run_id).values(planned=planned))
        return self.run(run.run_id)

    def run(self, run_id: str) -> Run:
        """One run. Raises LedgerError when there is none."""
        with self._transaction() as connection:
            row = connection.execute(sa.select(RUNS).where(RUNS.c.run_id == run_id)).one_or_none()
        if row is None:
            raise LedgerError(
                f"There is no run {run_id!r} in the ledger; `jingxi push --runs` lists the last ones."
            )
        return Run(**row._mapping)

    def runs(
        self,
        line: LineKey | None = None,
        *,
        states: Sequence[str] | None = None,
        in_doubt: bool | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs, the latest first."""
        wanted = sa.select(RUNS).order_by(RUNS.c.created_at.desc(), RUNS.c.run_id.desc())
        if line is not None:
            wanted = wanted.where(
                RUNS.c.activation == line.activation, RUNS.c.destination == line.destination
            )
        if states is not None:
            wanted = wanted.where(RUNS.c.state.in_(states))
        if in_doubt:
            wanted = wanted.where(RUNS.c.in_doubt > 0)
        if limit is not None:
            wanted = wanted.limit(limit)
        with self._transaction() as connection:
            return [Run(**row._mapping) for row in connection.execute(wanted)]

    def runs_by_id(self, run_ids: Sequence[str]) -> list[Run]:
        """Those of these runs that there are."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(RUNS).where(RUNS.c.run_id.in_(run_ids)))
            return [Run(**row._mapping) for row in rows]

    def set_state(
        self, run_id: str, state: Literal["awaiting_approval", "running"], reason: str = ""
    ) -> None:
        """Hold an open run for approval, or let it run. Raises LedgerError when it is closed."""
        values: dict[str, Any] = {"state": state, "reason": reason}
        if state == "running":
            values["started_at"] = sa.func.coalesce(RUNS.c.started_at, self._now())
        with self._transaction() as connection:
            done = connection.execute(
                sa.update(RUNS).where(RUNS.c.run_id == run_id, RUNS.c.state.not_in(CLOSED)).values(**values)
            )
        if done.rowcount != 1:
            raise LedgerError(f"The run {run_id} is over, or does not exist.")

    def approve(self, run_id: str, reason: str) -> None:
        """Write down that a person approved a run; `reason` is what it was held for."""
        with self._transaction() as connection:
            connection.execute(sa.delete(APPROVALS).where(APPROVALS.c.run_id == run_id))
            connection.execute(
                sa.insert(APPROVALS).values(run_id=run_id, approved_at=self._now(), reason=reason)
            )

    def is_approved(self, run_id: str) -> bool:
        """Whether a person approved the run."""
        with self._transaction() as connection:
            return (
                connection.execute(sa.select(APPROVALS).where(APPROVALS.c.run_id == run_id)).first()
                is not None
            )

    def close(self, run_id: str, state: ClosedState, reason: str = "") -> Run:
        """End a run, or count an ended one again. Raises LedgerError when a record is not accounted for."""
        with self._transaction() as connection:
            counted = _numbers(
                connection.execute(
                    sa.select(RECORDS.c.state, sa.func.count())
                    .where(RECORDS.c.run_id == run_id)
                    .group_by(RECORDS.c.state)
                )
            )
            connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.run_id == run_id)
                .values(
                    state=state,
                    reason=reason,
                    closed_at=sa.func.coalesce(RUNS.c.closed_at, self._now()),
                    **{name: counted.get(name, 0) for name in ("accepted", "rejected", "in_doubt", "held")},
                )
            )
        return self.run(run_id)

    # Destinations -----------------------------------------------------------------------------------------------

    def switch_off(self, run: Run, code: str) -> None:
        """Write down that the receiver of a run's destination has switched it off for good; the first time counts."""
        with self._transaction() as connection:
            known = sa.select(SWITCHED_OFF.c.code).where(SWITCHED_OFF.c.destination == run.destination)
            if connection.execute(known).first() is None:
                connection.execute(
                    sa.insert(SWITCHED_OFF).values(
                        destination=run.destination,
                        activation=run.activation,
                        run_id=run.run_id,
                        code=code,
                        switched_off_at=self._now(),
                    )
                )

    def switch_on(self, destination: str) -> None:
        """A person says that the destination takes records again."""
        with self._transaction() as connection:
            connection.execute(sa.delete(SWITCHED_OFF).where(SWITCHED_OFF.c.destination == destination))

    def switched_off(self) -> dict[str, SwitchOff]:
        """Destinations that their receiver has switched off, by name."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(SWITCHED_OFF).order_by(SWITCHED_OFF.c.destination)).all()
        return {
            row.destination: SwitchOff(
                row.destination,
                row.activation,
                row.run_id,
                row.code,
                row.switched_off_at.replace(tzinfo=dt.UTC),
            )
            for row in rows
        }

    # Records ----------------------------------------------------------------------------------------------------

    def open_records(self, run_id: str, first: int, last: int) -> dict[int, tuple[str, int | None]]:
        """Records from position `first` to `last` that are planned or in doubt: position → state, batch."""
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(RECORDS.c.position, RECORDS.c.state, RECORDS.c.batch).where(
                    RECORDS.c.run_id == run_id,
                    RECORDS.c.position.between(first, last),
                    RECORDS.c.state.in_(("planned", "in_doubt")),
                )
            ).all()
        return {row.position: (row.state, row.batch) for row in rows}

    def counts(self, run_id: str) -> dict[str, int]:
        """Records of a run by state."""
        return self._count(run_id, RECORDS.c.state)

    def reasons(self, run_id: str, state: str = "held") -> dict[str, int]:
        """Records of a run in a state, by code."""
        return self._count(run_id, RECORDS.c.code, RECORDS.c.state == state)

    def doubtful_batches(self, run_id: str) -> dict[int, int]:
        """Records in doubt by batch."""
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(RECORDS.c.batch, sa.func.count())
                .where(RECORDS.c.run_id == run_id, RECORDS.c.state == "in_doubt")
                .group_by(RECORDS.c.batch)
            ).all()
        return {int(batch): number for batch, number in _numbers(rows).items()}

    def _count(self, run_id: str, column: sa.Column[Any], *also: Any) -> dict[str, int]:
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(column, sa.func.count()).where(RECORDS.c.run_id == run_id, *also).group_by(column)
            ).all()
        return _numbers(rows)

    def last_batch(self, run_id: str) -> int:
        """The greatest number of a batch of the run, 0 when there is none."""
        with self._transaction() as connection:
            found = connection.execute(
                sa.select(sa.func.max(RECORDS.c.batch)).where(RECORDS.c.run_id == run_id)
            ).scalar()
        return int(found or 0)

    def begin(self, run_id: str, positions: Sequence[int], batch: int, *, again: bool = False) -> None:
        """Write that records are being sent, before the call; `again`: some of them were being sent already."""
        before = ("planned", "in_doubt", *(("sending",) if again else ()))
        self._move(run_id, positions, before, {"state": "sending", "code": "", "batch": batch})

    def put_back(self, run_id: str, positions: Sequence[int]) -> None:
        """Write that records whose call was surely not taken are planned again."""
        self._move(run_id, positions, ("sending", "in_doubt"), {"state": "planned", "code": ""})

    def hold(self, run_id: str, positions: Sequence[int], code: str) -> None:
        """Write that records are not tried in this run; of a whole run also such as an earlier attempt left in doubt."""
        self._move(run_id, positions, ("planned", "in_doubt"), {"state": "held", "code": code})

    def decide(self, run_id: str, *, sent: bool | Collection[str]) -> Run:
        """A person says what became of what a closed run left in doubt: all arrived, none did, or those with these
        key hashes did.

        What the person says had arrived counts as acknowledged; the rest is held, and planned anew by the next push.
        """
        run = self.run(run_id)
        closed_as = run.closed_as
        doubtful = sa.and_(RECORDS.c.run_id == run_id, RECORDS.c.state == "in_doubt")
        with self._transaction() as connection:
            if isinstance(sent, bool):
                arrived = [doubtful] if sent else []
            else:
                arrived = [
                    sa.and_(doubtful, RECORDS.c.key_hash.in_(chunk)) for chunk in _batched(sent, _CHUNK)
                ]
            for which in arrived:
                self._acknowledge(connection, run, which)
                connection.execute(
                    sa.update(RECORDS)
                    .where(which)
                    .values(state="accepted", code="decided_sent", changed_at=self._now())
                )
            connection.execute(
                sa.update(RECORDS)
                .where(doubtful)
                .values(state="held", code="decided_not_sent", changed_at=self._now())
            )
        return self.close(run_id, closed_as, run.reason)

    def set_aside(self, run_id: str, positions: Sequence[int], batch: int, code: str) -> None:
        """Records in doubt whose batch went again without them: only a person can say what became of them."""
        self._move(run_id, positions, ("in_doubt",), {"batch": -batch, "code": code})

    def hold_rest(self, run_id: str, code: str) -> None:
        """Hold all that is still planned."""
        with self._transaction() as connection:
            connection.execute(
                sa.update(RECORDS)
                .where(RECORDS.c.run_id == run_id, RECORDS.c.state == "planned")
                .values(state="held", code=code, changed_at=self._now())
            )

    def interrupt(self, run_id: str, code: str = INTERRUPTED) -> int:
        """All that was being sent is in doubt now; returns how many."""
        with self._transaction() as connection:
            done = connection.execute(
                sa.update(RECORDS)
                .where(RECORDS.c.run_id == run_id, RECORDS.c.state == "sending")
                .values(state="in_doubt", code=code, changed_at=self._now())
            )
        return int(done.rowcount)

    def settle(self, run: Run, settlements: Sequence[Settlement]) -> None:
        """Write what became of records in `sending` or in doubt, and move the state of what was acknowledged."""
        groups: dict[tuple[str, str, dt.datetime | None], list[int]] = {}
        for one in settlements:
            until = one.not_before.astimezone(dt.UTC).replace(tzinfo=None) if one.not_before else None
            groups.setdefault((one.state, one.code, until), []).append(one.position)
        with self._transaction() as connection:
            for (state, code, until), positions in groups.items():
                self._update(
                    connection,
                    run.run_id,
                    positions,
                    ("sending", "in_doubt"),
                    {"state": state, "code": code, "not_before": until},
                )
            accepted = [one.position for one in settlements if one.state == "accepted"]
            for chunk in _runs_of(accepted):
                self._acknowledge(
                    connection, run, sa.and_(RECORDS.c.run_id == run.run_id, _position_in(chunk))
                )

    def accept_all(self, run: Run) -> None:
        """A destination that takes a run as a whole has it: all that was being sent is accepted."""
        sending = sa.and_(RECORDS.c.run_id == run.run_id, RECORDS.c.state == "sending")
        with self._transaction() as connection:
            self._acknowledge(connection, run, sending)
            connection.execute(
                sa.update(RECORDS).where(sending).values(state="accepted", code="", changed_at=self._now())
            )

    def _acknowledge(self, connection: sa.Connection, run: Run, which: sa.ColumnElement[bool]) -> None:
        connection.execute(
            sa.delete(ACKNOWLEDGED).where(
                ACKNOWLEDGED.c.destination == run.destination,
                ACKNOWLEDGED.c.activation == run.activation,
                ACKNOWLEDGED.c.key_hash.in_(sa.select(RECORDS.c.key_hash).where(which)),
            )
        )
        columns = ["destination", "activation", "key_hash", "row_hash", "run_id", "acknowledged_at"]
        rows = sa.select(
            sa.literal(run.destination, sa.String),
            sa.literal(run.activation, sa.String),
            RECORDS.c.key_hash,
            RECORDS.c.row_hash,
            RECORDS.c.run_id,
            sa.literal(self._now(), sa.DateTime),
        ).where(which, RECORDS.c.operation == "upsert")
        connection.execute(sa.insert(ACKNOWLEDGED).from_select(columns, rows))

    def put_all_back(self, run_id: str, state: Literal["planned", "in_doubt"], code: str = "") -> None:
        """All that was being sent was surely not taken (`planned`), or is as doubtful as before."""
        with self._transaction() as connection:
            connection.execute(
                sa.update(RECORDS)
                .where(RECORDS.c.run_id == run_id, RECORDS.c.state == "sending")
                .values(state=state, code=code, changed_at=self._now())
            )

    # What is known of a line --------------------------------------------------------------------------------------

    def acknowledged(self, line: LineKey) -> Iterator[Sequence[tuple[str, str]]]:
        """(key_hash, row_hash) of all that the destination has acknowledged, in chunks."""
        wanted = sa.select(ACKNOWLEDGED.c.key_hash, ACKNOWLEDGED.c.row_hash).where(
            ACKNOWLEDGED.c.destination == line.destination, ACKNOWLEDGED.c.activation == line.activation
        )
        return self._pairs(wanted)

    def settled(self, line: LineKey, since: dt.datetime) -> Iterator[tuple[str, Iterator[Sent]]]:
        """(run_id, what was accepted or rejected, removals apart) of the runs of a line planned since a moment (aware)."""
        runs = sa.select(RUNS.c.run_id).where(
            RUNS.c.activation == line.activation,
            RUNS.c.destination == line.destination,
            RUNS.c.created_at >= since.astimezone(dt.UTC).replace(tzinfo=None),
        )
        with self._transaction() as connection:
            found: list[str] = list(connection.scalars(runs.order_by(RUNS.c.created_at, RUNS.c.run_id)))
        for run_id in found:
            yield run_id, self._sent(run_id)

    def _sent(self, run_id: str) -> Iterator[Sent]:
        wanted = (
            sa.select(RECORDS.c.position, RECORDS.c.key_hash, RECORDS.c.state, RECORDS.c.changed_at)
            .where(
                RECORDS.c.run_id == run_id,
                RECORDS.c.operation == "upsert",
                RECORDS.c.state.in_(("accepted", "rejected")),
            )
            .order_by(RECORDS.c.position)
        )
        with self._transaction() as connection:
            for row in connection.execute(wanted).mappings():
                yield Sent(
                    row["position"], row["key_hash"], row["state"], row["changed_at"].replace(tzinfo=dt.UTC)
                )

    def messages(self, line: LineKey, since: dt.datetime) -> Iterator[Message]:
        """What reached somebody, or may have, since a moment (aware) in runs of the last 31 days before: of other lines also
        what is being sent or in doubt; of `line` itself only what was accepted, since what is in doubt is its own to settle.
        """
        moment = since.astimezone(dt.UTC).replace(tzinfo=None)
        own = sa.and_(RUNS.c.activation == line.activation, RUNS.c.destination == line.destination)
        wanted = sa.select(
            RUNS.c.activation,
            RUNS.c.destination,
            RECORDS.c.run_id,
            RECORDS.c.position,
            RECORDS.c.key_hash,
            RECORDS.c.changed_at,
        ).where(
            RUNS.c.created_at >= moment - _RUN_OF_A_MESSAGE,
            RUNS.c.run_id == RECORDS.c.run_id,
            RECORDS.c.operation == "upsert",
            RECORDS.c.changed_at >= moment,
            sa.or_(
                RECORDS.c.state == "accepted", sa.and_(~own, RECORDS.c.state.in_(("sending", "in_doubt")))
            ),
        )
        with self._transaction() as connection:
            for row in connection.execution_options(yield_per=10_000).execute(wanted):
                yield Message(
                    LineKey(row.activation, row.destination),
                    f"push:{row.run_id}:{row.position}",
                    row.key_hash,
                    row.changed_at.replace(tzinfo=dt.UTC),
                )

    def messages_stamp(self, line: LineKey, since: dt.datetime) -> object:
        """What tells that `messages` are the same as before, without reading them: nobody is in a run of `line` twice, so what
        it sends while it runs changes nothing for itself."""
        moment = since.astimezone(dt.UTC).replace(tzinfo=None)
        wanted = (
            sa.select(RUNS).where(RUNS.c.created_at >= moment - _RUN_OF_A_MESSAGE).order_by(RUNS.c.run_id)
        )
        with self._transaction() as connection:
            runs = [Run(**row._mapping) for row in connection.execute(wanted)]
        return [
            (
                *(run.run_id, run.state, run.accepted, run.in_doubt),
                self.last_batch(run.run_id) if run.state == "running" and run.line != line else 0,
            )
            for run in runs
        ]

    def acknowledged_count(self, line: LineKey) -> int:
        """How many keys the destination has acknowledged."""
        with self._transaction() as connection:
            return int(
                connection.execute(
                    sa.select(sa.func.count())
                    .select_from(ACKNOWLEDGED)
                    .where(
                        ACKNOWLEDGED.c.destination == line.destination,
                        ACKNOWLEDGED.c.activation == line.activation,
                    )
                ).scalar_one()
            )

    def left_out(self, line: LineKey, source: str) -> Iterator[Sequence[tuple[str, str]]]:
        """(key_hash, code) of what a new plan from `source` does not send: in doubt since an earlier run, deferred until
        later, or accepted or rejected from this very source (codes `in_doubt`, `deferred`, `accepted`, `rejected`)."""
        of_line = sa.and_(
            RUNS.c.activation == line.activation,
            RUNS.c.destination == line.destination,
            RUNS.c.run_id == RECORDS.c.run_id,
        )
        doubtful = sa.select(RECORDS.c.key_hash, sa.literal("in_doubt")).where(
            of_line,
            sa.or_(RUNS.c.in_doubt > 0, RUNS.c.state.not_in(CLOSED)),
            RECORDS.c.state.in_(("in_doubt", "sending")),
        )
        deferred = sa.select(RECORDS.c.key_hash, sa.literal("deferred")).where(
            of_line, RECORDS.c.not_before > self._now(), RECORDS.c.state == "held"
        )
        done = sa.select(RECORDS.c.key_hash, RECORDS.c.state).where(
            of_line, RUNS.c.source == source, RECORDS.c.state.in_(("accepted", "rejected"))
        )
        return self._pairs(sa.union_all(doubtful, deferred, done))

    def last_finished(self, line: LineKey) -> Run | None:
        """The latest run of a line that ended well."""
        found = self.runs(line, states=("finished",), limit=1)
        return found[0] if found else None

    def _pairs(self, wanted: sa.Select[Any] | sa.CompoundSelect[Any]) -> Iterator[Sequence[tuple[str, str]]]:
        with self._transaction() as connection:
            for rows in connection.execution_options(yield_per=10_000).execute(wanted).partitions():
                yield [(str(left), str(right)) for left, right in rows]

    def _move(
        self, run_id: str, positions: Sequence[int], before: Sequence[str], values: Mapping[str, Any]
    ) -> None:
        with self._transaction() as connection:
            self._update(connection, run_id, positions, before, values)

    def _update(
        self,
        connection: sa.Connection,
        run_id: str,
        positions: Sequence[int],
        before: Sequence[str],
        values: Mapping[str, Any],
    ) -> None:
        for chunk in _runs_of(positions):
            done = connection.execute(
                sa.update(RECORDS)
                .where(
                    RECORDS.c.run_id == run_id,
                    _position_in(chunk),
                    RECORDS.c.state.in_(before),
                )
                .values(**values, changed_at=self._now())
            )
            if done.rowcount != len(chunk):
                raise LedgerError(
                    f"Records of the run {run_id} changed meanwhile: another process pushes it. "
                    "Wait until that is done, then push again."
                )


def _runs_of(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    """Positions without a gap between them together, others in handfuls."""
    positions = sorted(set(positions))
    if positions and positions[-1] - positions[0] + 1 == len(positions):
        yield positions
        return
    yield from _batched(positions, _CHUNK)


def _position_in(positions: Sequence[int]) -> sa.ColumnElement[bool]:
    if positions[-1] - positions[0] + 1 == len(positions):
        return RECORDS.c.position.between(positions[0], positions[-1])
    return RECORDS.c.position.in_(positions)


def _numbers(rows: Iterable[Any]) -> dict[str, int]:
    return {str(name): int(number) for name, number in rows}


def _batched(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(values)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _engine(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
    in_memory = url in ("sqlite://", "sqlite:///:memory:")
    engine = sa.create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        **({"poolclass": StaticPool} if in_memory else {}),
    )

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where this module says
        try:
            connection.execute("pragma foreign_keys = on")
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")  # what is committed survives a power cut
        except BaseException:
            connection.close()  # the pool does not know it yet
            raise

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("begin immediate")  # waits for other writers here, not in the middle

    return engine


@contextmanager
def _told(engine: sa.Engine) -> Iterator[None]:
    """Errors of the database in one sentence, without any value."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise LedgerError(
            "The ledger refused what was to be written: a record is not accounted for, or stands there twice."
        ) from error
    except sa.exc.DBAPIError as error:
        place = engine.url.render_as_string(hide_password=True)
        raise LedgerError(
            f"The ledger {place} cannot be read or written: {_cause(error.orig)}. Nothing is sent that it does not know "
            "of; push again when that is repaired."
        ) from error


def _cause(error: BaseException | None) -> str:
    """What keeps a database from working, as far as it says so itself."""
    named = str(getattr(error, "sqlite_errorname", ""))
    for beginning, cause in _CAUSES.items():
        if named.startswith(beginning):
            return cause
    return f"is the server there, is the disk full? ({type(error).__name__})"
