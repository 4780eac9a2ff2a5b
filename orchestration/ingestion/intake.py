"""Taking landing files in: every record ends in the raw zone or in `rejected`, and an intake counts whole or not at all.

What is written lies in `<home>/raw/.intake/` until every file was read and judged; then the files are moved to
their places and the registry commits them in one transaction.

A bad record (broken structure, an empty required column, a value that is not of its type) goes to
`<home>/rejected/<table>/<content hash>.parquet`. A file is refused when it cannot be read, when it lacks a required
column, or when more of a column fails its type than `intake.max_failed_share`. The share is taken of the values
that were accepted or failed. Fewer than 20 values are too few for a share of a few percent: there it takes three
failures and more than half of the values.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from orchestration.errors import IntakeError, JingxiError
from orchestration.home import Home
from orchestration.ingestion import records
from orchestration.ingestion.contracts import PROPERTIES, Column, Table, Type
from orchestration.ingestion.conversion import (
    EXPECTED,
    BusinessTime,
    filled_text,
    from_text,
    from_typed,
    literal,
    moments,
    name,
    present,
)
from orchestration.ingestion.landing import LandingFile, discover
from orchestration.ingestion.readers import STREAM, Reader, open_file, run
from orchestration.ingestion.records import UnreadableFileError
from orchestration.ingestion.registry import FileEntry, Fingerprint, RawFile, Registry, storage_type
from orchestration.settings import Settings

EARLIEST_DAY = dt.date(1990, 1, 1)
_FEW_VALUES = 20
_FEW_FAILURES = 3
_SETTLED_NS = 2_000_000_000  # a file changed less than two seconds ago may change again unnoticed
_SMALL_BYTES = 1 << 20
_SORT_FROM_BYTES = 4 << 20
_SORT_FROM_DAYS = 60
_SORT_SAMPLE_ROWS = 50_000
_SYNC_ALL_FROM_FILES = 64
_DAY_FOLDER = "_arrived_on="
_NO_DAY = "__HIVE_DEFAULT_PARTITION__"

REQUIRED_EMPTY = "required_empty"
WRONG_TYPE = "wrong_type"
MALFORMED_JSON = "malformed_json"

_BROKEN = {
    records.TOO_MANY_FIELDS: "The record has more fields than the header.",
    records.TOO_FEW_FIELDS: "The record has fewer fields than the header.",
    records.UNTERMINATED_QUOTE: "A quote is opened in this line and never closed.",
    records.TEXT_AFTER_QUOTE: "A closing quote is followed by text; a quote inside a quoted field is written twice.",
    records.STRAY_RETURN: "The record holds a carriage return outside quotes that ends no line.",
    records.NUL_BYTE: "The record holds a NUL character.",
    records.INVALID_ENCODING: "The record holds bytes that are neither UTF-8 nor GB18030.",
    MALFORMED_JSON: "The line is not one JSON object.",
}


@dataclass(frozen=True)
class FileResult:
    """What became of one landing file.

    `status`: taken, new_version, already_taken, same_content_as (see `same_as`), quarantined (see `reason`).
    Counts are of this intake: 0 for a file that was taken in before.
    """

    path: str
    table: str
    format: str | None
    status: str
    records: int = 0
    accepted: int = 0
    rejected: int = 0
    first_arrived_on: dt.date | None = None
    last_arrived_on: dt.date | None = None
    extra_columns: tuple[str, ...] = ()
    same_as: str | None = None
    reason: str | None = None
    rejected_file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class TableCounts:
    """Counts of one table in one intake."""

    files: int = 0
    records: int = 0
    accepted: int = 0
    rejected: int = 0

    def plus(self, result: FileResult) -> TableCounts:
        """These counts and those of one more file."""
        return TableCounts(
            self.files + 1,
            self.records + result.records,
            self.accepted + result.accepted,
            self.rejected + result.rejected,
        )


@dataclass(frozen=True)
class IntakeResult:
    """What one intake did: every file of the landing folder, in order of table and path."""

    files: tuple[FileResult, ...]

    @property
    def taken(self) -> tuple[FileResult, ...]:
        """Files whose rows came in."""
        return tuple(file for file in self.files if file.status in ("taken", "new_version"))

    @property
    def records(self) -> int:
        """Records read."""
        return sum(file.records for file in self.files)

    @property
    def accepted(self) -> int:
        """Records that are in the raw zone."""
        return sum(file.accepted for file in self.files)

    @property
    def rejected(self) -> int:
        """Records that are in `rejected`."""
        return sum(file.rejected for file in self.files)

    @property
    def tables(self) -> dict[str, TableCounts]:
        """Counts by table, of the files that came in."""
        counts: dict[str, TableCounts] = {}
        for file in self.taken:
            counts[file.table] = counts.get(file.table, TableCounts()).plus(file)
        return counts

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return {
            "records": self.records,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "tables": {table: asdict(counts) for table, counts in self.tables.items()},
            "files": [file.to_dict() for file in self.files],
        }


@dataclass(frozen=True)
class Progress:
    """A step of an intake: `path` is about to be read."""

    path: str
    done: int
    total: int


def take_in(
    home: Home,
    settings: Settings,
    landing: Path,
    *,
    now: dt.datetime,
    business_day: dt.date,
    quarantine: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> IntakeResult:
    """Take in every file of a landing folder that is new by content.

    `now` is the moment of the intake (aware), `business_day` the day on which rows without a day of their own
    arrive. Raises UsageError for a landing folder that is missing or holds no input tables, and IntakeError that
    names every bad file; then nothing was taken in. With `quarantine` bad files are copied to
    `<home>/rejected/quarantine/`, recorded, and passed over from then on (until that copy is deleted).
    """
    files = discover(landing)
    intake = _Intake(home, settings, now, business_day, quarantine)
    try:
        return intake.run(files, on_progress or (lambda step: None))
    except duckdb.OutOfMemoryException as error:
        raise JingxiError(
            f"Taking files in needs more memory than engine.memory_limit {settings.engine.memory_limit}. "
            "Raise it; nothing was taken in."
        ) from error
    except duckdb.Error as error:
        raise JingxiError(_disk_or_bug(home, str(error), type(error).__name__)) from None
    except OSError as error:
        raise JingxiError(_disk_or_bug(home, str(error), error.strerror or type(error).__name__)) from error
    finally:
        intake.close()


def _disk_or_bug(home: Home, text: str, kind: str) -> str:
    if "No space left" in text:
        return f"The disk of {home.path} is full. Nothing was taken in; make room and run again."
    # The engine's own text may hold values of records: it is not repeated.
    return f"Files could not be written below {home.path} ({kind}). Nothing was taken in."


@dataclass
class _Taken:
    """One file while it is being taken in."""

    file: LandingFile
    content_hash: str
    fingerprint: Fingerprint
    taken_in_at: dt.datetime
    is_new_version: bool
    arrived_on: dt.date | None  # None: the row's own day
    records: int = 0
    accepted: int = 0
    rejected: int = 0
    extra: tuple[str, ...] = ()
    parts: list[tuple[Path, dt.date | None, int]] = field(default_factory=list)
    rejects: Path | None = None


@dataclass(frozen=True)
class _Choice:
    status: str
    same_as: str | None = None
    is_new_version: bool = False


class _Intake:
    def __init__(
        self, home: Home, settings: Settings, now: dt.datetime, business_day: dt.date, quarantine: bool
    ) -> None:
        self._home = home
        self._settings = settings
        self._now = now.astimezone(dt.UTC).replace(tzinfo=None)
        self._business_day = business_day
        self._quarantine = quarantine
        self._registry = Registry(home)
        self._stage = home.raw / ".intake"
        self._zone = BusinessTime(settings.business_timezone)
        self._opened: duckdb.DuckDBPyConnection | None = None
        self._is_alone = False

    def close(self) -> None:
        """Close the engine and drop what was not committed."""
        if self._opened is not None:
            self._opened.close()
        shutil.rmtree(self._stage, ignore_errors=True)

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._opened is None:
            engine = self._settings.engine
            self._home.temp.mkdir(parents=True, exist_ok=True)
            config: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": engine.memory_limit,
                "temp_directory": str(self._home.temp),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
            if engine.threads:
                config["threads"] = engine.threads
            self._opened = duckdb.connect(config=config)
            self._opened.execute("set TimeZone = 'UTC'")
            self._opened.execute("set enable_progress_bar = false")
        return self._opened

    def run(self, files: list[LandingFile], on_progress: Callable[[Progress], None]) -> IntakeResult:
        """Read, judge, commit."""
        self._sweep()
        fingerprints = self._fingerprints(files)
        hashes = {file.name: fingerprints[file.name].content_hash for file in files}
        known_bad = self._known_bad(files, hashes)
        bad = {file.name: file.problem for file in files if file.problem and file.name not in known_bad}
        choices = self._choose(files, hashes, {*bad, *known_bad})
        taken = self._plan(files, fingerprints, choices)
        self._read_all(taken, bad, on_progress)
        if bad and not self._quarantine:
            raise IntakeError(_refusal(files, bad))
        if bad:
            for file in files:
                same_as = choices[file.name].same_as
                if same_as in bad:
                    bad[file.name] = f"has the same content as {same_as}, which {bad[same_as]}"
            # With a new version set aside, the content it would have replaced counts on.
            choices = self._choose(files, hashes, {*bad, *known_bad})
            taken = [one for one in taken if choices[one.file.name].status == "take"]
        entries = self._finish(taken)
        for file in files:
            choice = choices[file.name]
            if choice.status == "same_content_as" and choice.is_new_version:
                entries.append(self._repeated(file, hashes[file.name], choice.same_as))
            if file.name in bad:
                entries.append(self._set_aside(file, hashes[file.name], bad[file.name]))
        if entries or taken or self._unseen(files, fingerprints):
            self._registry.commit(entries, self._settled(files, fingerprints))
        by_name = {one.file.name: one for one in taken}
        return IntakeResult(
            tuple(
                self._result(file, choices[file.name], by_name.get(file.name), known_bad | bad)
                for file in files
            )
        )

    # --- which files ---

    def _sweep(self) -> None:
        """Remove what an intake that did not finish left behind."""
        shutil.rmtree(self._stage, ignore_errors=True)
        if not self._home.raw.is_dir():
            return
        known = self._registry.raw_paths()
        for table in os.scandir(self._home.raw):
            if not table.is_dir():
                continue
            for day in os.scandir(table.path):
                if not day.is_dir():
                    continue
                for raw in os.scandir(day.path):
                    path = Path(raw.path)
                    if path.relative_to(self._home.path).as_posix() not in known:
                        path.unlink()

    def _fingerprints(self, files: list[LandingFile]) -> dict[str, Fingerprint]:
        known = self._registry.fingerprints()
        found = {}
        for file in files:
            try:
                stat = file.path.stat()
                before = known.get(str(file.path.absolute()))
                facts = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
                if before is not None and facts == (before.size, before.mtime_ns, before.inode):
                    found[file.name] = before
                else:
                    with file.path.open("rb") as handle:
                        content_hash = hashlib.file_digest(handle, "sha256").hexdigest()
                    found[file.name] = Fingerprint(*facts, content_hash)
            except OSError as error:
                raise IntakeError(
                    f"{file.name} cannot be read: {error.strerror}. Nothing was taken in."
                ) from error
        return found

    def _settled(
        self, files: list[LandingFile], fingerprints: dict[str, Fingerprint]
    ) -> dict[str, Fingerprint]:
        limit = dt.datetime.now(dt.UTC).timestamp() * 1e9 - _SETTLED_NS
        return {
            str(file.path.absolute()): fingerprints[file.name]
            for file in files
            if fingerprints[file.name].mtime_ns < limit
        }

    def _unseen(self, files: list[LandingFile], fingerprints: dict[str, Fingerprint]) -> bool:
        known = self._registry.fingerprints()
        settled = self._settled(files, fingerprints)
        return any(known.get(path) != fingerprint for path, fingerprint in settled.items())

    def _known_bad(self, files: list[LandingFile], hashes: dict[str, str]) -> dict[str, str]:
        """Files that were set aside before and whose copies still lie in quarantine, with the reason."""
        reasons = self._registry.quarantined()
        return {
            file.name: reasons[file.name, hashes[file.name]]
            for file in files
            if (file.name, hashes[file.name]) in reasons and self._copy(file, hashes[file.name]).exists()
        }

    def _copy(self, file: LandingFile, content_hash: str) -> Path:
        return self._home.rejected / "quarantine" / file.table.name / f"{content_hash}-{file.path.name}"

    def _choose(
        self, files: list[LandingFile], hashes: dict[str, str], refused: set[str]
    ) -> dict[str, _Choice]:
        """What to do with each file, by what is in force now and what will be after this intake."""
        now = self._registry.heads()
        usable = [file for file in files if file.name not in refused]
        heads = {(file.table.name, file.name): now.get((file.table.name, file.name)) for file in usable}
        replaced = {
            (file.table.name, file.name)
            for file in usable
            if (head := heads[file.table.name, file.name]) is not None
            and head.content_hash != hashes[file.name]
        }
        in_force = {
            (table, head.content_hash): path
            for (table, path), head in now.items()
            if head.has_rows and (table, path) not in replaced
        }
        choices: dict[str, _Choice] = {}
        for file in files:
            head = now.get((file.table.name, file.name))
            content = (file.table.name, hashes[file.name])
            is_same = head is not None and head.content_hash == content[1]
            if file.name in refused:
                choices[file.name] = _Choice("quarantined")
            elif head is not None and is_same and head.has_rows:
                choices[file.name] = _Choice("already_taken")
            elif content in in_force:
                choices[file.name] = _Choice(
                    "same_content_as", in_force[content], is_new_version=head is not None and not is_same
                )
            else:
                in_force[content] = file.name
                choices[file.name] = _Choice("take", is_new_version=head is not None)
        return choices

    def _plan(
        self, files: list[LandingFile], fingerprints: dict[str, Fingerprint], choices: dict[str, _Choice]
    ) -> list[_Taken]:
        last = self._registry.last_taken_in_at()
        moment = self._now if last is None else max(self._now, last + dt.timedelta(microseconds=1))
        by_row = self._arrives_by_row()
        taken: list[_Taken] = []
        for file in files:
            if choices[file.name].status != "take":
                continue
            fingerprint = fingerprints[file.name]
            taken.append(
                _Taken(
                    file,
                    fingerprint.content_hash,
                    fingerprint,
                    moment + dt.timedelta(microseconds=len(taken)),
                    choices[file.name].is_new_version,
                    self._arrival(file, by_row=by_row),
                )
            )
        return taken

    def _arrives_by_row(self) -> bool:
        setting = self._settings.intake.arrived_on
        return setting == "row_date" or (setting == "auto" and self._registry.is_empty())

    def _arrival(self, file: LandingFile, *, by_row: bool) -> dt.date | None:
        setting = self._settings.intake.arrived_on
        if isinstance(setting, dt.date):
            return setting
        if setting == "auto" and file.arrived_on is not None:
            return file.arrived_on
        return None if by_row else self._business_day

    # --- reading ---

    def _read_all(
        self, taken: list[_Taken], bad: dict[str, str], on_progress: Callable[[Progress], None]
    ) -> None:
        """Read and judge every file: first those that tell the earliest day, then those that need it."""
        self._stage.mkdir(parents=True, exist_ok=True)
        self._stage.chmod(0o700)
        undated = [one for one in taken if one.arrived_on is None and one.file.table.dated_by is None]
        dated = [one for one in taken if one not in undated] if undated else taken
        for done, one in enumerate(dated):
            on_progress(Progress(one.file.name, done, len(taken)))
            self._read_one(one, bad)
        days = [
            day for one in taken if one.file.name not in bad for _, day, _ in one.parts if day is not None
        ]
        earliest = min(days, default=EARLIEST_DAY)
        for done, one in enumerate(undated, start=len(dated)):
            on_progress(Progress(one.file.name, done, len(taken)))
            one.arrived_on = earliest
            self._read_one(one, bad)
        for one in taken:
            one.parts = [
                (path, day, count) if day is not None else (self._redated(path, earliest), earliest, count)
                for path, day, count in one.parts
            ]

    def _read_one(self, one: _Taken, bad: dict[str, str]) -> None:
        self._use_threads(alone=one.fingerprint.size < _SMALL_BYTES)
        try:
            reader = open_file(self._connection, one.file)
            self._check_columns(one.file.table, reader)
            self._accept(one, reader)
            one.records = reader.records()
            if one.accepted != one.records:
                self._reject(one, reader)
            self._check_unchanged(one)
        except UnreadableFileError as error:
            bad[one.file.name] = str(error)
            return
        finally:
            with contextlib.suppress(duckdb.Error):
                self._connection.unregister(STREAM)
        if one.accepted + one.rejected != one.records:
            raise JingxiError(
                f"{one.file.name}: {one.records} records were counted, but {one.accepted} accepted and "
                f"{one.rejected} rejected. Nothing was taken in; please report this."
            )
        problem = self._failed_columns(one)
        if problem:
            bad[one.file.name] = problem

    def _use_threads(self, *, alone: bool) -> None:
        """One thread for small files: waking others costs more than they help."""
        if alone != self._is_alone:
            threads = 1 if alone else self._settings.engine.threads
            self._connection.execute(f"set threads = {threads}" if threads else "reset threads")
            self._is_alone = alone

    @staticmethod
    def _check_unchanged(one: _Taken) -> None:
        stat = one.file.path.stat()
        known = one.fingerprint
        if (stat.st_size, stat.st_mtime_ns, stat.st_ino) != (known.size, known.mtime_ns, known.inode):
            raise UnreadableFileError("was changed while it was read; run again when it is complete")

    @staticmethod
    def _check_columns(table: Table, reader: Reader) -> None:
        missing = [column for column in table.required_columns if column not in reader.layout.columns]
        if missing:
            raise UnreadableFileError(
                f"lacks the required column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
                f"every file of {table.name} needs {', '.join(table.required_columns)}"
            )

    def _accept(self, one: _Taken, reader: Reader) -> None:
        """Write the good records: one file, or one per day."""
        table = one.file.table
        one.extra = reader.layout.extra
        if one.arrived_on is not None:
            part = self._stage / f"{one.taken_in_at:%H%M%S%f}-{one.content_hash}.parquet"
            day = f"date '{one.arrived_on}'"
            rows = run(
                self._connection,
                reader,
                lambda: (
                    f"copy ({self._accepted_query(one, reader, day)}) to {literal(str(part))} "
                    "(format parquet, compression zstd)"
                ),
            )
            one.accepted = int(rows[0][0])
            one.parts = [(part, one.arrived_on, one.accepted)] if one.accepted else []
            return
        dated_by = table.column(table.dated_by or "")
        if dated_by is None or dated_by.name not in reader.layout.columns:
            day = "cast(null as date)"
        elif dated_by.type is Type.DATE:
            day = name("v_" + dated_by.name)
        else:
            day = self._zone.day(name("v_" + dated_by.name))
        folder = self._stage / f"{one.taken_in_at:%H%M%S%f}-{one.content_hash}"
        order = " order by _arrived_on" if self._is_scattered(one, reader, day) else ""
        rows = run(
            self._connection,
            reader,
            lambda: (
                f"copy ({self._accepted_query(one, reader, day)}{order}) to {literal(str(folder))} (format parquet, "
                "compression zstd, partition_by (_arrived_on), write_partition_columns true, return_stats)"
            ),
        )
        for path, count, *_ in rows:
            part = Path(str(path))
            text = part.parent.name.removeprefix(_DAY_FOLDER)
            one.parts.append((part, None if text == _NO_DAY else dt.date.fromisoformat(text), int(count)))
        one.accepted = sum(count for _, _, count in one.parts)
        one.parts.sort(key=lambda part: (part[1] or dt.date.min, str(part[0])))

    def _is_scattered(self, one: _Taken, reader: Reader, day: str) -> bool:
        """Whether a large file mixes many days: then sorting first saves thousands of small files."""
        if one.fingerprint.size < _SORT_FROM_BYTES:
            return False
        rows = run(
            self._connection,
            reader,
            lambda: (
                "select count(distinct _arrived_on) from ("
                f"{self._accepted_query(one, reader, day)} limit {_SORT_SAMPLE_ROWS})"
            ),
        )
        return int(rows[0][0]) > _SORT_FROM_DAYS

    def _converted(self, one: _Taken, reader: Reader, *, whole: bool) -> str:
        """CTEs `converted`: per known column b_<name> (the file's value, null when blank) and v_<name>."""
        layout = reader.layout
        kept = ["_record", "_code", "_extra", *(["_line", "_original"] if whole else [])]
        filled, times, values = [], [], []
        for column in one.file.table.columns:
            source = layout.columns.get(column.name)
            if source is None:
                continue
            raw, text, local, zoned, value = (
                name(prefix + column.name) for prefix in ("r_", "b_", "l_", "z_", "v_")
            )
            if source != "VARCHAR":
                filled.append(f"{present(raw, source)} as {text}")
                values.append(f"{from_typed(column, text, source, self._zone)} as {value}")
                continue
            filled.append(f"{filled_text(column, raw)} as {text}")
            values.append(f"{from_text(column, text, local, zoned, self._zone)} as {value}")
            if column.type in (Type.DATE, Type.TIMESTAMP):
                without, within = moments(text)
                times += [f"{without} as {local}", f"{within} as {zoned}"]
        return f"""with source as ({reader.relation(whole=whole)}),
            present as (select {", ".join([*kept, *filled])} from source),
            timed as (select {", ".join(["*", *times])} from present),
            converted as (select {", ".join(["*", *values])} from timed)"""

    def _accepted_query(self, one: _Taken, reader: Reader, day: str) -> str:
        table, layout = one.file.table, reader.layout
        conditions = ["_code is null"]
        columns = []
        for column in table.columns:
            value, filled = name("v_" + column.name), name("b_" + column.name)
            kind = storage_type(column)
            if column.name not in layout.columns:
                value = "null"
            elif column.required:
                conditions.append(f"{value} is not null")
            elif column.type is not Type.TEXT or layout.columns[column.name] != "VARCHAR":
                conditions.append(f"({filled} is null or {value} is not null)")
            if column.name == PROPERTIES.name:
                value = _merged(value)
            columns.append(f"cast({value} as {kind}) as {name(column.name)}")
        columns += [
            f"{literal(one.content_hash)} as _file_id",
            "_record",
            f"{day} as _arrived_on",
            f"timestamp '{one.taken_in_at.isoformat(sep=' ', timespec='microseconds')}' as _taken_in_at",
        ]
        return (
            f"{self._converted(one, reader, whole=False)} select {', '.join(columns)} from converted "
            f"where {' and '.join(conditions)}"
        )

    def _reject(self, one: _Taken, reader: Reader) -> None:
        """Read once more and write the records that were not accepted, with reasons."""
        part = self._stage / f"{one.taken_in_at:%H%M%S%f}-{one.content_hash}.rejected.parquet"
        known = [column for column in one.file.table.columns if column.name in reader.layout.columns]
        empty = {column: f"{name('b_' + column.name)} is null" for column in known if column.required}
        wrong = {
            column: f"({name('b_' + column.name)} is not null and {name('v_' + column.name)} is null)"
            for column in known
        }

        def query() -> str:
            first = " ".join(
                f"when {condition} then {literal(column.name)}"
                for column in known
                for condition in (
                    f"({empty[column]} or {wrong[column]})" if column in empty else wrong[column],
                )
            )
            messages = " ".join(
                f"when {literal(column.name)} then {literal(f'{column.name} {EXPECTED[column.type]}.')}"
                for column in known
            )
            broken = " ".join(f"when {literal(code)} then {literal(text)}" for code, text in _BROKEN.items())
            return f"""copy (
                {self._converted(one, reader, whole=True)},
                judged as (
                    select
                        _record,
                        _line,
                        _code,
                        _original,
                        case when _code is null then {_listed(empty)} else '' end as empty_columns,
                        case when _code is null then {_listed(wrong)} else '' end as wrong_columns,
                        case when _code is null then case {first} end end as first_column
                    from converted
                ),
                final as (
                    select
                        {literal(one.file.name)} as file,
                        _line as line,
                        _record as record,
                        first_column as "column",
                        case
                            when _code is not null then _code
                            when list_contains(string_split(empty_columns, ','), first_column) then '{REQUIRED_EMPTY}'
                            else '{WRONG_TYPE}'
                        end as reason,
                        case
                            when _code is not null then case _code {broken} end
                            when list_contains(string_split(empty_columns, ','), first_column)
                                then first_column || ' is required and is empty.'
                            else case first_column {messages} end
                        end as message,
                        empty_columns,
                        wrong_columns,
                        _original as original,
                        {literal(one.content_hash)} as file_id,
                        timestamp '{one.taken_in_at.isoformat(sep=" ", timespec="microseconds")}' as taken_in_at
                    from judged
                    where _code is not null or empty_columns <> '' or wrong_columns <> ''
                )
                select * from final
            ) to {literal(str(part))} (format parquet, compression zstd)"""

        rows = run(self._connection, reader, query)
        one.rejected = int(rows[0][0])
        if one.rejected:
            part.chmod(0o600)
            one.rejects = part

    def _failed_columns(self, one: _Taken) -> str | None:
        """Why a file is refused for columns that fail their type, None when it is not."""
        if one.rejects is None:
            return None
        failed = self._connection.execute(
            "select name, count(*), min(coalesce(line, record)), min(line) is null from ("
            "select unnest(string_split(wrong_columns, ',')) as name, line, record "
            f"from read_parquet({literal(str(one.rejects))}) where wrong_columns <> '') group by name"
        ).fetchall()
        if not failed:
            return None
        names = {
            column: (int(count), int(first), bool(by_record)) for column, count, first, by_record in failed
        }
        accepted = dict.fromkeys(names, 0)
        if one.parts:
            files = ", ".join(literal(str(path)) for path, _, _ in one.parts)
            counts = self._connection.execute(
                f"select {', '.join(f'count({name(column)})' for column in names)} from read_parquet([{files}])"
            ).fetchone()
            accepted = dict(zip(names, (int(count) for count in counts or ()), strict=True))
        share = self._settings.intake.max_failed_share
        problems = []
        for column in one.file.table.columns:
            if column.name not in names:
                continue
            count, first, by_record = names[column.name]
            values = count + accepted[column.name]
            if _is_too_many(count, values, share):
                where = f"{'record' if by_record else 'line'} {first}"
                problems.append(
                    f"{count} of {values} values of {column.name} fail ({where} first): it {EXPECTED[column.type]}"
                )
        return "; ".join(problems) or None

    def _redated(self, part: Path, day: dt.date) -> Path:
        """The same rows with the day on which rows without a day arrive."""
        target = part.with_name(f"{part.stem}-dated.parquet")
        self._connection.execute(
            f"copy (select * replace (date '{day}' as _arrived_on) from read_parquet({literal(str(part))}, "
            f"hive_partitioning = false)) to {literal(str(target))} (format parquet, compression zstd)"
        )
        part.unlink()
        return target

    # --- committing ---

    def _finish(self, taken: list[_Taken]) -> list[FileEntry]:
        """Move what was written to its place, safely on disk, and say what the registry has to know."""
        moves: list[tuple[Path, Path]] = []
        entries = []
        used = self._registry.raw_paths()
        for one in taken:
            raw_files = []
            for part, day, count in one.parts:
                if day is None:
                    raise JingxiError(
                        f"{one.file.name} has rows without a day of arrival. Please report this."
                    )
                path = self._raw_path(one, day, used)
                used.add(path)
                moves.append((part, self._home.path / path))
                raw_files.append(RawFile(path, day, count))
            if one.rejects is not None:
                folder = self._home.rejected / one.file.table.name
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o700)
                moves.append((one.rejects, folder / f"{one.content_hash}.parquet"))
            entries.append(
                FileEntry(
                    one.file.table.name,
                    one.file.name,
                    one.content_hash,
                    "taken",
                    None,
                    str(one.file.format),
                    one.records,
                    one.accepted,
                    one.rejected,
                    min((raw.arrived_on for raw in raw_files), default=one.arrived_on or self._business_day),
                    one.taken_in_at,
                    tuple(raw_files),
                )
            )
        _move(moves)
        return entries

    @staticmethod
    def _raw_path(one: _Taken, day: dt.date, used: set[str]) -> str:
        stem = f"raw/{one.file.table.name}/{day}/{one.content_hash}"
        path, number = f"{stem}.parquet", 1
        while path in used:
            number += 1
            path = f"{stem}.{number}.parquet"
        return path

    def _set_aside(self, file: LandingFile, content_hash: str, reason: str) -> FileEntry:
        """Copy a bad file to quarantine."""
        target = self._copy(file, content_hash)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.parent.chmod(0o700)
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(file.path, part)
        part.chmod(0o600)
        _sync(part)
        part.replace(target)
        return FileEntry(
            file.table.name,
            file.name,
            content_hash,
            "quarantined",
            reason,
            str(file.format or ""),
            0,
            0,
            0,
            self._business_day,
            self._now,
        )

    def _repeated(self, file: LandingFile, content_hash: str, same_as: str | None) -> FileEntry:
        """The end of a path's earlier version whose new content has come in under another name."""
        day = self._arrival(file, by_row=False) or self._business_day
        return FileEntry(
            file.table.name,
            file.name,
            content_hash,
            "taken",
            None,
            str(file.format),
            0,
            0,
            0,
            day,
            self._now,
            same_as=same_as,
        )

    def _result(
        self,
        file: LandingFile,
        choice: _Choice,
        one: _Taken | None,
        reasons: dict[str, str],
    ) -> FileResult:
        kind = str(file.format) if file.format else None
        if one is None:
            return FileResult(
                file.name,
                file.table.name,
                kind,
                choice.status,
                same_as=choice.same_as,
                reason=reasons.get(file.name),
            )
        days = [day for _, day, _ in one.parts if day is not None]
        return FileResult(
            file.name,
            file.table.name,
            kind,
            "new_version" if one.is_new_version else "taken",
            one.records,
            one.accepted,
            one.rejected,
            min(days, default=None),
            max(days, default=None),
            one.extra,
            rejected_file=f"rejected/{file.table.name}/{one.content_hash}.parquet" if one.rejects else None,
        )


def _merged(given: str) -> str:
    """`properties` of the file and the columns that the contract does not know, as one object."""
    if given == "null":
        return "_extra"
    return (
        f"case when _extra is null then {given} when {given} is null then _extra "
        f"else cast(json_merge_patch(cast(_extra as json), cast({given} as json)) as varchar) end"
    )


def _listed(conditions: dict[Column, str]) -> str:
    cases = [
        f"case when {condition} then {literal(column.name)} end" for column, condition in conditions.items()
    ]
    return f"concat_ws(',', {', '.join(cases)})" if cases else "''"


def _is_too_many(failed: int, values: int, share: float) -> bool:
    """Whether so much of a column fails its type that the file is refused."""
    if values >= _FEW_VALUES:
        return failed > share * values
    return failed >= _FEW_FAILURES and failed > max(share, 0.5) * values


def _refusal(files: list[LandingFile], bad: dict[str, str]) -> str:
    parts = [f"{file.name} {bad[file.name]}" for file in files if file.name in bad]
    several = len(parts) > 1
    return (
        f"Nothing was taken in: {'. '.join(parts)}. Deliver {'them' if several else 'it'} again, "
        f"or set {'them' if several else 'it'} aside with --quarantine."
    )


def _move(moves: list[tuple[Path, Path]]) -> None:
    """Rename files to their places; contents and names are on disk when this returns."""
    if len(moves) >= _SYNC_ALL_FROM_FILES:
        os.sync()
    else:
        for part, _ in moves:
            _sync(part)
    folders = {target.parent for _, target in moves}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for part, target in moves:
        part.replace(target)
    if len(moves) >= _SYNC_ALL_FROM_FILES:
        os.sync()
    else:
        for folder in folders | {folder.parent for folder in folders}:
            _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value
