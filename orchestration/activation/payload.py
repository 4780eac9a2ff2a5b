"""What the engine needs of a planned row to send it, in the order of positions.

The values never enter the ledger. A run's payload is one Parquet file in the home's private folder `activation/`, made
when the run is planned and removed when nothing of the run can be sent or asked about any more.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from orchestration.destinations.protocol import Operation, Record
from orchestration.home import Home

CHUNK_ROWS = 5_000


@dataclass(frozen=True, slots=True, repr=False)
class PlannedRow:
    """One row of a plan. Personal data: no representation shows it. A row with a `code` is held from the start, or was
    erased while it waited, and has neither key nor fields."""

    position: int
    user_id: str
    key: str
    operation: Operation
    fields: Mapping[str, JsonValue]
    key_hash: str
    row_hash: str
    code: str = ""

    def __repr__(self) -> str:
        return f"<PlannedRow {self.position}>"


class Payload(Protocol):
    """The rows of one run."""

    def chunks(self) -> Iterator[Sequence[PlannedRow]]:
        """All rows in the order of their positions."""
        ...


class PayloadStore(Payload, Protocol):
    """Where the rows of one run are kept until nothing of it will be sent or asked any more."""

    @property
    def exists(self) -> bool:
        """Whether the rows are still there."""
        ...

    def write(self, rows: Iterable[Sequence[PlannedRow]]) -> int:
        """Write all rows, whole or not at all; returns how many."""
        ...

    def remove(self) -> None:
        """Forget the rows."""
        ...


class Keys:
    """Keyed hashes of a home."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of_key(self, key_type: str, key: str) -> str:
        """Hash of an identifier, the same as `user_identities.id_hash`."""
        return self._digest(f"{key_type}:{key}")

    def of_row(self, fields: Mapping[str, JsonValue]) -> str:
        """Hash of what the destination is told about a key."""
        return self._digest(
            "row:" + json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        )

    def of_record(self, run_id: str, key_hash: str, operation: Operation) -> str:
        """Idempotency key of a record of a run: 32 hexadecimal digits."""
        return self._digest(f"record:{run_id}:{key_hash}:{operation}")[:32]

    def of_batch(self, run_id: str, batch: int) -> str:
        """Idempotency key of a batch of a run: 32 hexadecimal digits."""
        return self._digest(f"batch:{run_id}:{batch}")[:32]

    def _digest(self, text: str) -> str:
        return hmac.digest(self._secret, text.encode(), hashlib.sha256).hex()

    def record(self, run_id: str, row: PlannedRow) -> Record:
        """The row as a destination gets it."""
        return Record(row.key, row.operation, row.fields, self.of_record(run_id, row.key_hash, row.operation))


_SCHEMA = pa.schema(
    [
        ("position", pa.int32()),
        ("user_id", pa.string()),
        ("key", pa.string()),
        ("operation", pa.string()),
        ("fields", pa.string()),
        ("key_hash", pa.string()),
        ("row_hash", pa.string()),
        ("code", pa.string()),
    ]
)


class PayloadFile:
    """The rows of one run in a file of mode 0600."""

    def __init__(self, home: Home, run_id: str) -> None:
        self.path = home.path / "activation" / f"{run_id}.parquet"

    @property
    def exists(self) -> bool:
        """Whether the rows are still there."""
        return self.path.exists()

    def forget(self, users: Collection[str], code: str) -> int:
        """Take key and fields off the rows of users, which cannot be sent any more; returns how many rows had them.

        Rows that take somebody away at the destination keep the key that is needed for it.
        """

        def goes(row: PlannedRow) -> bool:
            return row.user_id in users and row.operation == "upsert" and not row.code

        rows = sum(goes(row) for chunk in self.chunks() for row in chunk)
        if rows:
            self.write(
                [replace(row, key="", fields={}, code=code) if goes(row) else row for row in chunk]
                for chunk in self.chunks()
            )
        return rows

    def write(self, rows: Iterable[Sequence[PlannedRow]]) -> int:
        """Write all rows, whole or not at all; returns how many."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.parent.chmod(0o700)
        part = self.path.with_suffix(".part")
        part.touch(mode=0o600)
        part.chmod(0o600)
        count = 0
        with pq.ParquetWriter(part, _SCHEMA) as writer:
            for chunk in rows:
                if chunk:
                    writer.write_table(_table(chunk))
                    count += len(chunk)
        part.replace(self.path)
        return count

    def chunks(self) -> Iterator[Sequence[PlannedRow]]:
        """All rows in the order of their positions."""
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=CHUNK_ROWS):
                yield [_row(values) for values in batch.to_pylist()]

    def remove(self) -> None:
        """Forget the rows."""
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(".part").unlink(missing_ok=True)


def _table(rows: Sequence[PlannedRow]) -> Any:
    return pa.table(
        {
            "position": [row.position for row in rows],
            "user_id": [row.user_id for row in rows],
            "key": [row.key for row in rows],
            "operation": [row.operation for row in rows],
            "fields": [json.dumps(row.fields, ensure_ascii=False) for row in rows],
            "key_hash": [row.key_hash for row in rows],
            "row_hash": [row.row_hash for row in rows],
            "code": [row.code for row in rows],
        },
        schema=_SCHEMA,
    )


def _row(values: dict[str, Any]) -> PlannedRow:
    return PlannedRow(**{**values, "fields": json.loads(values["fields"])})
