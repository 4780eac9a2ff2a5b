"""What was taken in: the registry of one home, and which raw files count on a day.

The registry (`<home>/state/intake.sqlite`) decides what is read. A raw file that it does not know is a leftover
of an intake that did not finish: never read, and removed by the next intake.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.errors import IntakeError
from orchestration.home import Home
from orchestration.ingestion.contracts import RAW_COLUMNS, Column, Table, Type

_SCHEMA = """
create table if not exists files (
    file_no integer primary key,
    intake_no integer not null,
    table_name text not null,
    path text not null,
    content_hash text not null,
    status text not null check (status in ('taken', 'quarantined')),
    reason text,
    same_as text,
    format text,
    records integer not null,
    accepted integer not null,
    rejected integer not null,
    arrived_on text not null,
    taken_in_at text not null
);
create index if not exists files_by_path on files (table_name, path, file_no);
create table if not exists raw_files (
    path text primary key,
    file_no integer not null references files (file_no),
    arrived_on text not null,
    records integer not null
);
create table if not exists rewrites (
    path text primary key references raw_files (path),
    content_hash text
);
create table if not exists fingerprints (
    path text primary key,
    size integer not null,
    mtime_ns integer not null,
    inode integer not null,
    content_hash text not null
);
"""

# A raw file counts from its arrival until a later version of the same landing path arrives.
_VISIBLE = """
select files.table_name, raw_files.path, raw_files.arrived_on, files.content_hash
from raw_files
join files on files.file_no = raw_files.file_no
where raw_files.arrived_on <= :as_of
  and not exists (
    select 1
    from files as later
    where later.table_name = files.table_name
      and later.path = files.path
      and later.file_no > files.file_no
      and later.status = 'taken'
      and later.arrived_on <= :as_of
  )
order by files.table_name, raw_files.arrived_on, files.file_no, raw_files.path
"""

# Every raw file that ever arrived, whether it still counts or not.
_ARRIVED = """
select files.table_name, raw_files.path
from raw_files
join files on files.file_no = raw_files.file_no
where raw_files.arrived_on <= :as_of and raw_files.arrived_on > :since
order by files.table_name, raw_files.arrived_on, files.file_no, raw_files.path
"""

# Raw files that were changed in place; no hash: the change did not come to its end.
_REWRITTEN = """
select files.table_name, rewrites.path, rewrites.content_hash
from rewrites
join raw_files on raw_files.path = rewrites.path
join files on files.file_no = raw_files.file_no
where raw_files.arrived_on <= :as_of
"""

# Landing files that a later version of their path replaced, and the day from which they no longer count.
_REPLACED = """
select files.table_name, files.taken_in_at, min(later.arrived_on), files.content_hash
from files
join files as later
  on later.table_name = files.table_name
  and later.path = files.path
  and later.file_no > files.file_no
  and later.status = 'taken'
  and later.arrived_on <= :as_of
where files.status = 'taken' and files.arrived_on <= :as_of
group by files.file_no
order by files.file_no
"""

# Per table and day: files, accepted and refused records of what counts. A file's refused records have no day of
# their own; they count on its first day.
_ARRIVALS = """
with counting as (
    select file_no, table_name, arrived_on, rejected
    from files
    where status = 'taken'
      and arrived_on <= :as_of
      and not exists (
        select 1
        from files as later
        where later.table_name = files.table_name
          and later.path = files.path
          and later.file_no > files.file_no
          and later.status = 'taken'
          and later.arrived_on <= :as_of
      )
)
select table_name, arrived_on, sum(files), sum(accepted), sum(rejected)
from (
    select counting.table_name, raw_files.arrived_on, count(*) as files, sum(raw_files.records) as accepted, 0 as rejected
    from counting
    join raw_files on raw_files.file_no = counting.file_no
    where raw_files.arrived_on <= :as_of
    group by counting.table_name, raw_files.arrived_on
    union all
    select table_name, arrived_on, 0, 0, sum(rejected)
    from counting
    where rejected > 0
    group by table_name, arrived_on
)
group by table_name, arrived_on
order by table_name, arrived_on
"""

# The version in force of every landing path.
_HEADS = """
select table_name, path, content_hash, same_as
from files
where status = 'taken'
  and file_no in (select max(file_no) from files where status = 'taken' group by table_name, path)
order by file_no
"""

_SECONDS_TO_WAIT = 30


@dataclass(frozen=True)
class RawFile:
    """One Parquet file of accepted rows; `path` is relative to the home."""

    path: str
    arrived_on: dt.date
    records: int


@dataclass(frozen=True)
class FileEntry:
    """One landing file as the registry keeps it. `arrived_on` is its first day.

    `same_as` names the path that brought the content before; the entry then has no rows and only ends the earlier
    version of its own path.
    """

    table: str
    path: str
    content_hash: str
    status: str
    reason: str | None
    format: str
    records: int
    accepted: int
    rejected: int
    arrived_on: dt.date
    taken_in_at: dt.datetime
    raw_files: tuple[RawFile, ...] = ()
    same_as: str | None = None


@dataclass(frozen=True)
class Arrival:
    """Files and records of a table that arrived on one day; refused ones on the first day of their file."""

    table: str
    arrived_on: dt.date
    files: int
    accepted: int
    rejected: int


@dataclass(frozen=True)
class Head:
    """The version of a path that is in force. It has no rows when another path had brought the content before."""

    content_hash: str
    has_rows: bool


@dataclass(frozen=True)
class Fingerprint:
    """What tells that a landing file is unchanged without reading it, and its SHA-256."""

    size: int
    mtime_ns: int
    inode: int
    content_hash: str


class Registry:
    """The registry of a home. Reading needs no file; the first commit makes it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file = home.intake_registry

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        if not self._file.exists():
            yield None
            return
        try:
            with closing(sqlite3.connect(self._file, timeout=_SECONDS_TO_WAIT)) as connection:
                connection.executescript(_SCHEMA)
                yield connection
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: sqlite3.Error) -> IntakeError:
        return IntakeError(
            f"{self._file} cannot be used: {error}. Restore it from a backup of {self._home.state}."
        )

    def _rows(self, query: str, parameters: Mapping[str, str] | None = None) -> list[tuple[str, ...]]:
        with self._reading() as connection:
            return [] if connection is None else connection.execute(query, parameters or {}).fetchall()

    def visible_files(self, as_of: dt.date) -> dict[str, list[Path]]:
        """Raw files that count on `as_of` by table: arrived by then, and no later version of their path had."""
        visible: dict[str, list[Path]] = {}
        for table, path, _, _ in self._rows(_VISIBLE, {"as_of": as_of.isoformat()}):
            visible.setdefault(table, []).append(self._home.path / path)
        return visible

    def arrived_files(self, as_of: dt.date, since: dt.date = dt.date.min) -> dict[str, list[Path]]:
        """Raw files that arrived by `as_of` and after `since` by table, replaced ones included."""
        arrived: dict[str, list[Path]] = {}
        days = {"as_of": as_of.isoformat(), "since": since.isoformat()}
        for table, path in self._rows(_ARRIVED, days):
            arrived.setdefault(table, []).append(self._home.path / path)
        return arrived

    def replaced_files(self, as_of: dt.date) -> list[tuple[str, dt.datetime, dt.date]]:
        """(table, moment of intake, day from which it counts no longer) of every landing file replaced by `as_of`.

        The moment of intake (UTC without a zone) tells the file: it rises with every file.
        """
        return [
            (table, dt.datetime.fromisoformat(taken_in_at), dt.date.fromisoformat(replaced_on))
            for table, taken_in_at, replaced_on, _ in self._rows(_REPLACED, {"as_of": as_of.isoformat()})
        ]

    def input_hash(self, as_of: dt.date) -> str:
        """SHA-256 over what counts on `as_of` (table, day of arrival, content) and what counted before, however it
        came in, and over the raw files of these that were changed in place."""
        day = {"as_of": as_of.isoformat()}
        facts = {
            f"{table}\t{arrived_on}\t{content_hash}\n"
            for table, _, arrived_on, content_hash in self._rows(_VISIBLE, day)
        }
        facts |= {
            f"{table}\tuntil {replaced_on}\t{content_hash}\n"
            for table, _, replaced_on, content_hash in self._rows(_REPLACED, day)
        }
        facts |= {
            f"{table}\trewritten {path}\t{content_hash or self._content_hash(path)}\n"
            for table, path, content_hash in self._rows(_REWRITTEN, day)
        }
        return hashlib.sha256("".join(sorted(facts)).encode()).hexdigest()

    def _content_hash(self, path: str) -> str:
        try:
            with (self._home.path / path).open("rb") as handle:
                return hashlib.file_digest(handle, "sha256").hexdigest()
        except FileNotFoundError:
            return "gone"

    def raw_stamp(self, as_of: dt.date) -> str:
        """SHA-256 over size and time of change of every raw file that arrived by `as_of`.

        Says whether anybody touched them since, without reading them; a copy of the home may have another one.
        """
        digest = hashlib.sha256()
        for table, path in self._rows(
            _ARRIVED, {"as_of": as_of.isoformat(), "since": dt.date.min.isoformat()}
        ):
            try:
                found = (self._home.path / path).stat()
                facts = f"{found.st_size} {found.st_mtime_ns}"
            except FileNotFoundError:
                facts = "gone"
            digest.update(f"{table} {path} {facts}\n".encode())
        return digest.hexdigest()

    def withdrawn_tables(self, since: dt.date, as_of: dt.date) -> set[str]:
        """Tables of which a raw file counts on `since` and no longer on `as_of`: a path was taken in again."""
        later = self.visible_files(as_of)
        return {
            table
            for table, files in self.visible_files(since).items()
            if not set(files) <= set(later.get(table, ()))
        }

    def arrivals(self, as_of: dt.date) -> list[Arrival]:
        """What arrived on each day up to `as_of`, by table, of the files that count on `as_of`."""
        return [
            Arrival(table, dt.date.fromisoformat(day), int(files), int(accepted), int(rejected))
            for table, day, files, accepted, rejected in self._rows(_ARRIVALS, {"as_of": as_of.isoformat()})
        ]

    def is_empty(self) -> bool:
        """Whether nothing was ever taken in."""
        return not self._rows("select 1 from files where status = 'taken' limit 1")

    def first_arrival(self) -> dt.date | None:
        """The first day on which anything counts, None for an empty home."""
        rows = self._rows("select min(arrived_on) from raw_files")
        return dt.date.fromisoformat(rows[0][0]) if rows and rows[0][0] else None

    def heads(self) -> dict[tuple[str, str], Head]:
        """The version in force of every (table, path), in the order in which they were taken in."""
        return {
            (table, path): Head(content_hash, same_as is None)
            for table, path, content_hash, same_as in self._rows(_HEADS)
        }

    def quarantined(self) -> dict[tuple[str, str], str]:
        """Reason for every (path, content hash) that was set aside."""
        rows = self._rows(
            "select path, content_hash, reason from files where status = 'quarantined' order by file_no"
        )
        return {(path, content_hash): reason for path, content_hash, reason in rows}

    def raw_paths(self) -> set[str]:
        """Every raw file that the registry knows, relative to the home."""
        return {path for (path,) in self._rows("select path from raw_files")}

    def last_taken_in_at(self) -> dt.datetime | None:
        """The latest moment of any file, UTC without a zone."""
        rows = self._rows("select max(taken_in_at) from files")
        return dt.datetime.fromisoformat(rows[0][0]) if rows and rows[0][0] else None

    def fingerprints(self) -> dict[str, Fingerprint]:
        """What is known of landing files by absolute path."""
        rows = self._rows("select path, size, mtime_ns, inode, content_hash from fingerprints")
        return {row[0]: Fingerprint(int(row[1]), int(row[2]), int(row[3]), row[4]) for row in rows}

    def begin_rewrite(self, path: str) -> None:
        """Record that a raw file is about to change in place: until `end_rewrite` the bytes it has are what counts."""
        with self._writing() as connection:
            connection.execute("insert or replace into rewrites values (?, null)", [path])

    def is_being_rewritten(self, path: str) -> bool:
        """Whether a change in place of a raw file began and did not come to its end."""
        query = "select 1 from rewrites where path = :path and content_hash is null"
        return bool(self._rows(query, {"path": path}))

    def end_rewrite(self, path: str, records: int) -> None:
        """Record what a raw file that changed in place now holds."""
        content_hash = self._content_hash(path)
        with self._writing() as connection:
            connection.execute("insert or replace into rewrites values (?, ?)", [path, content_hash])
            connection.execute("update raw_files set records = ? where path = ?", [records, path])

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it counts, or nothing does."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._file, timeout=_SECONDS_TO_WAIT)) as connection:
                connection.executescript(_SCHEMA)
                with connection:
                    connection.execute("begin immediate")
                    yield connection
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error

    def commit(self, entries: Iterable[FileEntry], fingerprints: Mapping[str, Fingerprint]) -> None:
        """Record one intake in one transaction: all of it counts from now on, or nothing does."""
        with self._writing() as connection:
            self._insert(connection, entries)
            connection.executemany(
                "insert or replace into fingerprints values (?, ?, ?, ?, ?)",
                [
                    (path, known.size, known.mtime_ns, known.inode, known.content_hash)
                    for path, known in fingerprints.items()
                ],
            )

    @staticmethod
    def _insert(connection: sqlite3.Connection, entries: Iterable[FileEntry]) -> None:
        (intake_no,) = connection.execute("select coalesce(max(intake_no), 0) + 1 from files").fetchone()
        for entry in entries:
            cursor = connection.execute(
                "insert into files (intake_no, table_name, path, content_hash, status, reason, same_as, format, records, "
                "accepted, rejected, arrived_on, taken_in_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    intake_no,
                    entry.table,
                    entry.path,
                    entry.content_hash,
                    entry.status,
                    entry.reason,
                    entry.same_as,
                    entry.format,
                    entry.records,
                    entry.accepted,
                    entry.rejected,
                    entry.arrived_on.isoformat(),
                    entry.taken_in_at.isoformat(timespec="microseconds"),
                ),
            )
            connection.executemany(
                "insert into raw_files values (?, ?, ?, ?)",
                [
                    (raw.path, cursor.lastrowid, raw.arrived_on.isoformat(), raw.records)
                    for raw in entry.raw_files
                ],
            )


def storage_type(column: Column) -> str:
    """The DuckDB type that a column has in raw files. JSON is kept as text, for every reader alike."""
    return "VARCHAR" if column.type is Type.JSON else column.type.value


def raw_columns(table: Table) -> tuple[Column, ...]:
    """Columns of a table's raw files, in order."""
    return (*table.columns, *RAW_COLUMNS)


def empty_file(home: Home, table: Table) -> Path:
    """`raw/<table>/empty.parquet`: no rows, every column typed, so that a table without files can be read.

    Written when it is missing or when the contract changed since.
    """
    file = home.raw / table.name / "empty.parquet"
    columns = ", ".join(
        f'cast(null as {storage_type(column)}) as "{column.name}"' for column in raw_columns(table)
    )
    contract = hashlib.sha256(columns.encode()).hexdigest()
    try:
        if contract.encode() in file.read_bytes():
            return file
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".empty.{os.getpid()}.part")
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select {columns} where false) to '{str(part).replace(chr(39), chr(39) * 2)}' "
            f"(format parquet, kv_metadata {{contract: '{contract}'}})"
        )
    part.replace(file)
    return file
