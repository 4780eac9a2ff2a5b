"""File destinations: the records of a run are written as whole files, then put into a store.

A store is a place for folders: this machine, an S3-compatible bucket, an SFTP server. In each, what is visible is
whole, and the manifest comes last: a folder without a manifest is not a delivery.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb
from pydantic import Field, field_validator

from orchestration.destinations.errors import ConfigurationError, DestinationError, Halted
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Capabilities,
    Finding,
    InDoubt,
    Outcome,
    Record,
    Rejected,
    RunInfo,
)
from orchestration.destinations.record_files import (
    MANIFEST,
    FileFormat,
    RecordTable,
    WrittenFile,
    manifest,
)
from orchestration.destinations.registry import DestinationSettings

BATCH_ROWS = 10_000
_NAME = re.compile(r"[a-z0-9_-]{1,64}\Z")


class Store(Protocol):
    """A place for finished files."""

    def check(self) -> None:
        """See that it can be reached and written. Raises DestinationError."""
        ...

    def put(self, folder: Sequence[str], files: Sequence[Path]) -> None:
        """Make `files` visible in the folder, in their order, each only when whole.

        A file that is there with the same content stays; other content is replaced. Raises DestinationError.
        """
        ...

    def close(self) -> None:
        """Give back connections. Never raises."""
        ...


class FileSettings(DestinationSettings):
    """Formats of the files."""

    formats: tuple[FileFormat, ...] = Field(default=("csv",), min_length=1)

    @field_validator("formats")
    @classmethod
    def _once(cls, formats: tuple[FileFormat, ...]) -> tuple[FileFormat, ...]:
        return tuple(dict.fromkeys(formats))


class Collector(Protocol):
    """Turns records into files."""

    def add(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Outcomes of these records. Raises duckdb.Error, OSError."""
        ...

    def write(self, folder: Path) -> list[WrittenFile]:
        """The finished files. Raises duckdb.Error, OSError."""
        ...

    def extra(self) -> dict[str, Any]:
        """What the manifest says besides."""
        ...

    def close(self) -> None:
        """Forget everything."""
        ...


class TableCollector:
    """The records as a table in the declared formats."""

    def __init__(self, run: RunInfo, formats: Sequence[FileFormat], work: Path) -> None:
        self._formats = formats
        self._table = RecordTable(run, work, with_operation=run.mode == "mirror")

    def add(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Every record can be a row."""
        bad = [_is_unfit(record) for record in records]
        self._table.add([record for record, unfit in zip(records, bad, strict=True) if not unfit])
        return [Rejected("text_unfit") if unfit else Accepted() for unfit in bad]

    def write(self, folder: Path) -> list[WrittenFile]:
        """One file per format."""
        return self._table.write(folder, self._formats)

    def extra(self) -> dict[str, Any]:
        """The number of records."""
        return {"count": self._table.rows}

    def close(self) -> None:
        """Forget the rows."""
        self._table.close()


class FileDestination(ABC):
    """Base of the file destinations: a store, and what the files look like."""

    capabilities = Capabilities(
        idempotent=True, removes=True, reconciles=False, batch_size=BATCH_ROWS, whole=True
    )

    def __init__(self, name: str, home: Path, store: Callable[[], Store]) -> None:
        self.name = name
        self._home = home
        self._store = store

    @abstractmethod
    def collector(self, run: RunInfo, work: Path) -> Collector:
        """What turns the run's records into files."""

    def check(self) -> None:
        """See that the store can be written. Raises DestinationError."""
        store = self._store()
        try:
            store.check()
        finally:
            store.close()

    def open(self, run: RunInfo) -> FileSession:
        """Begin to collect; the store is called at `finish` only. Raises ConfigurationError, Halted."""
        if not _NAME.match(run.activation) or not _NAME.match(run.run_id):
            raise ConfigurationError(
                "name_unfit",
                "An activation that writes files is named with 1 to 64 of a-z, 0-9, hyphen, underscore.",
            )
        return FileSession(self, run, self._store(), work_folder(self._home))


def work_folder(home: Path) -> Path:
    """A new private folder for unfinished files; those of dead processes are swept. Raises Halted."""
    temp = home / "temp"
    try:
        temp.mkdir(parents=True, exist_ok=True)
        for left in temp.glob("delivery-*"):
            if not _is_alive(left.name):
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"delivery-{os.getpid()}-", dir=temp))
    except OSError as error:
        raise _disk_failure(error) from None


class FileSession:
    """One attempt at a run."""

    def __init__(self, destination: FileDestination, run: RunInfo, store: Store, work: Path) -> None:
        self._run = run
        self._store = store
        self._work = work
        self._finished = False
        try:
            self._collector = destination.collector(run, work)
        except BaseException:
            store.close()
            shutil.rmtree(work, ignore_errors=True)
            raise

    def send(self, batch: Batch) -> Sequence[Outcome]:
        """Collect the records. Raises Halted when the disk is full."""
        if not batch.records:
            return []
        failure: DestinationError
        try:
            return self._collector.add(batch.records)
        except (OSError, duckdb.Error) as error:
            failure = _disk_failure(error)
        raise failure

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        """Not needed: a run that is repeated replaces its own files."""
        return [InDoubt("replay_instead") for _ in batch.records]

    def finish(self) -> None:
        """Write the files and put them into the store, the manifest last. Raises DestinationError."""
        failure: DestinationError | None = None
        try:
            folder = self._work / "files"
            folder.mkdir(mode=0o700, exist_ok=True)
            written = self._collector.write(folder)
            extra = self._collector.extra()
            note = folder / MANIFEST
            note.write_text(
                json.dumps(manifest(self._run, written, extra=extra), ensure_ascii=False, indent=2) + "\n",
                encoding="utf-8",
            )
            note.chmod(0o600)
        except (OSError, duckdb.Error) as error:
            failure = _disk_failure(error)
        if failure is not None:
            raise failure
        self._store.put((self._run.activation, self._run.run_id), [*(own.path for own in written), note])

    def close(self) -> None:
        """Remove what was not delivered."""
        with contextlib.suppress(Exception):
            self._collector.close()
        with contextlib.suppress(Exception):
            self._store.close()
        shutil.rmtree(self._work, ignore_errors=True)


def _is_alive(folder: str) -> bool:
    """Whether the process that made a work folder still runs."""
    try:
        os.kill(int(folder.split("-")[1]), 0)
    except (ProcessLookupError, ValueError, IndexError):
        return False
    except PermissionError:
        return True
    return True


def _is_unfit(record: Record) -> bool:
    """Whether a text of the record cannot be written as UTF-8 (half of a surrogate pair)."""
    texts = [record.key, *(own for own in record.fields.values() if isinstance(own, str))]
    return any("\ud800" <= sign <= "\udfff" for text in texts if not text.isascii() for sign in text)


def _disk_failure(error: Exception) -> Halted:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
    return Halted("files_not_written", f"The files could not be written on this machine: {reason}.")
