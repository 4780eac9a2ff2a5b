"""From source files to landing files.

Sources are loaded once, set-based, into an in-memory DuckDB that spills to disk; then the connection loses its
access to everything but the folder it writes to, and the adapter's SQL runs. What arrives by day is written day by
day: the SQL of a day sees that day's records only, so that loading one file a day and loading a year at once give
the same files by construction.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from pydantic import BaseModel, ValidationError

from orchestration.errors import IntakeError, JingxiError, UsageError
from orchestration.home import Home
from orchestration.ingestion.contracts import TABLES_BY_NAME, Type
from orchestration.ingestion.datasets.report import (
    MALFORMED_SHOWN,
    DatasetReport,
    InputCounts,
    Place,
    report_file,
    write_atomically,
)
from orchestration.ingestion.datasets.sources import (
    KnownFile,
    Layout,
    SourceFile,
    find_files,
    find_source,
    layout,
    transcoded,
    unreadable,
)
from orchestration.ingestion.datasets.spec import (
    ColumnSpec,
    ColumnType,
    DatasetSpec,
    InputSpec,
    first_line,
    suggest,
)
from orchestration.settings import Settings

Progress = Callable[[str], object]
"""Called with what is being done, in a few words."""

_ENGINE_VERSION = 1  # raise it when the same adapter and files give other landing files
_MAX_LINE_BYTES = 16 << 20
_ARRIVED_ON = "_arrived_on"
_WHOLE = "all"  # the unit of what does not arrive by day
_REFUSALS = {
    "MISSING COLUMNS": "too few columns",
    "TOO MANY COLUMNS": "too many columns",
    "UNQUOTED VALUE": "a quote that is not closed or stands inside a value",
    "INVALID ENCODING": "bytes that are no valid text",
    "LINE SIZE OVER MAXIMUM": "a line that is too long",
}
_NO_VALUE_OF = {
    ColumnType.INTEGER: "no whole number",
    ColumnType.DECIMAL: "no number",
    ColumnType.DATE: "no date",
    ColumnType.TIMESTAMP: "no time",
    ColumnType.INSTANT: "no time",
    ColumnType.TEXT: "no text",
}


class _Unit(BaseModel):
    """What was made of one day, or of everything that does not arrive by day."""

    fingerprint: str
    files: list[str]
    counts: dict[str, InputCounts]
    rows: dict[str, int]


class _State(BaseModel):
    files: dict[str, KnownFile] = {}
    units: dict[str, _Unit] = {}


@dataclass(frozen=True)
class DatasetResult:
    """What `prepare` did. `written` are the landing files that are new or changed."""

    dataset: str
    source: Path
    report: DatasetReport
    written: tuple[Path, ...]
    unchanged: int

    def to_dict(self) -> dict[str, Any]:
        """What became of every record, as JSON types: {"inputs": {input: {what became of them: records}}, …}."""
        return {
            **self.report.to_dict(),
            "source": str(self.source),
            "landing files written": len(self.written),
            "days unchanged": self.unchanged,
        }


@dataclass(frozen=True)
class _Refused:
    """A record that could not even be split into columns, and how many lines went with it."""

    file: SourceFile
    record: int
    lines: int
    reason: str


@dataclass(frozen=True)
class _Made:
    """A Parquet file not yet landed."""

    file: Path
    rows: int


@dataclass
class _Work:
    """One call of `prepare`. `counts` is by input and unit; `records` are by input and file, `failed` by reason too."""

    spec: DatasetSpec
    home: Home
    settings: Settings
    folder: Path
    progress: Progress
    connection: duckdb.DuckDBPyConnection
    counts: dict[tuple[str, str], InputCounts] = field(default_factory=dict)
    header_lines: dict[tuple[str, str], int] = field(default_factory=dict)
    records: dict[tuple[str, str], int] = field(default_factory=dict)
    failed: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def note(self, name: str, file: str, reason: str | None, count: int) -> None:
        """Count records of a file, malformed ones with their reason."""
        self.records[name, file] = self.records.get((name, file), 0) + count
        if reason is not None:
            self.failed[name, file, reason] = self.failed.get((name, file, reason), 0) + count

    def counts_of_files(self, name: str, files: Iterable[SourceFile], units: Sequence[str]) -> None:
        """Count the files of the units that are made."""
        for file in files:
            if (file.day.isoformat() if file.day else _WHOLE) in units:
                self.counts_of(name, file).files += 1

    def counts_of(self, name: str, file: SourceFile) -> InputCounts:
        """The counts that the records of a file add to."""
        unit = file.day.isoformat() if file.day else _WHOLE
        return self.counts.setdefault((name, unit), InputCounts())


def prepare(
    spec: DatasetSpec,
    source: Path | None,
    home: Home,
    settings: Settings,
    *,
    on_progress: Progress | None = None,
) -> DatasetResult:
    """Write the landing files of a dataset: `<home>/landing/<table>/[dt=<day>/]<dataset>.parquet`.

    The same source gives the same bytes; days whose source files did not change are skipped. The report, also kept
    in `<home>/state`, says for every input what became of every record. Raises UsageError when files are missing or
    the adapter is wrong, IntakeError when a file cannot be read; landing files are then as before.
    """
    progress = on_progress or (lambda _what: None)
    root = find_source(spec, source)
    home.create()
    state_file = home.state / f"dataset_{spec.name}.json"
    state = _read_state(state_file)
    files, not_read = find_files(spec, root, state.files)
    units = _units(spec, files)
    stale = [unit for unit in units if _is_stale(spec, home, state, unit, units[unit])]
    written: list[Path] = []
    if stale:
        _check_days_are_whole(state, stale, units)
        with _working(spec, home, settings, progress) as work:
            made = _make(work, files, stale)
            for unit in stale:
                # Landing first, state second: when the run dies in between, the unit is made once more.
                written += _land(work, made[unit], state.units.get(unit))
                state.units[unit] = _Unit(
                    fingerprint=units[unit].fingerprint,
                    files=units[unit].names,
                    counts={n: c for (n, u), c in work.counts.items() if u == unit},
                    rows={output: result.rows for output, result in made[unit].items()},
                )
    known = {file.name: file.known for group in files.values() for file in group}
    if stale or known != state.files:
        state.files = known
        write_atomically(state_file, state.model_dump_json())
    report = _report(spec, state, not_read)
    write_atomically(report_file(home, spec.name), report.model_dump_json(indent=1))
    return DatasetResult(spec.name, root, report, tuple(written), len(units) - len(stale))


# ---------------------------------------------------------------- what is to be done


@dataclass(frozen=True)
class _Plan:
    fingerprint: str
    names: list[str]


def _units(spec: DatasetSpec, files: dict[str, list[SourceFile]]) -> dict[str, _Plan]:
    """Days and, when something does not arrive by day, the whole; each with a hash of all that it is made of."""
    lasting = sorted(
        f"{name}/{file.name}/{file.known.sha256}"
        for name, group in files.items()
        if not spec.inputs[name].is_daily_by_file
        for file in group
    )
    by_unit: dict[str, list[tuple[str, SourceFile]]] = {}
    for name, group in files.items():
        for file in group:
            by_unit.setdefault(file.day.isoformat() if file.day else _WHOLE, []).append((name, file))
    if not spec.is_daily:
        by_unit.setdefault(_WHOLE, [])
    plans = {}
    for unit in sorted(by_unit):
        own = sorted(f"{name}/{file.name}/{file.known.sha256}" for name, file in by_unit[unit])
        text = json.dumps([_ENGINE_VERSION, spec.fingerprint, lasting, own])
        plans[unit] = _Plan(
            hashlib.sha256(text.encode()).hexdigest(), sorted(file.name for _, file in by_unit[unit])
        )
    return plans


def _is_stale(spec: DatasetSpec, home: Home, state: _State, unit: str, plan: _Plan) -> bool:
    known = state.units.get(unit)
    if known is None or known.fingerprint != plan.fingerprint:
        return True
    return any(rows and not _landing_file(home, spec, output).exists() for output, rows in known.rows.items())


def _check_days_are_whole(state: _State, stale: Sequence[str], units: dict[str, _Plan]) -> None:
    """A day is made from all its files: one that was read before and is gone would take its rows away."""
    for unit in stale:
        gone = set(state.units[unit].files if unit in state.units else ()) - set(units[unit].names)
        if gone and unit != _WHOLE:
            raise IntakeError(
                f"{unit}: the file {min(gone)}, which was read for this day before, is gone from the source. "
                "Put it back beside the day's other files."
            )


def _read_state(file: Path) -> _State:
    try:
        return _State.model_validate_json(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return _State()


# ---------------------------------------------------------------- the work


@contextmanager
def _working(spec: DatasetSpec, home: Home, settings: Settings, progress: Progress) -> Iterator[_Work]:
    prefix = f"dataset-{spec.name}-"
    for leftover in home.temp.glob(f"{prefix}*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=home.temp))
    connection = duckdb.connect(":memory:")
    try:
        (folder / "out").mkdir()
        (folder / "spill").mkdir()
        for statement in (
            "set TimeZone = 'UTC'",
            "set preserve_insertion_order = true",
            "set autoinstall_known_extensions = false",
            f"set memory_limit = {_text(settings.engine.memory_limit)}",
            f"set temp_directory = {_text(str(folder / 'spill'))}",
        ):
            connection.execute(statement)
        if settings.engine.threads:
            connection.execute(f"set threads = {settings.engine.threads}")
        yield _Work(spec, home, settings, folder, progress, connection)
    finally:
        connection.close()
        shutil.rmtree(folder, ignore_errors=True)


def _make(
    work: _Work, files: dict[str, list[SourceFile]], stale: Sequence[str]
) -> dict[str, dict[str, _Made]]:
    """Parquet files of the stale units, not yet landed, by unit and output."""
    spec, connection = work.spec, work.connection
    days = {unit for unit in stale if unit != _WHOLE}
    for name, declared in spec.inputs.items():
        work.progress(f"reading {name} ({len(files[name]):,} file{'' if len(files[name]) == 1 else 's'})")
        wanted = [f for f in files[name] if f.day is None or f.day.isoformat() in days]
        _load(work, name, declared, wanted)
    _check_malformed_share(work)
    # From here on the adapter's SQL runs: it can read the inputs and nothing else.
    connection.execute(f"set allowed_directories = [{_text(str(work.folder / 'out'))}]")
    connection.execute("set enable_external_access = false")
    for name in spec.inputs:  # an exclusion may look at another input
        connection.execute(
            f"create view {_name(name)} as select * exclude (_malformed, _day) from {_loaded(name)} where _malformed is null"
        )
    for name, declared in spec.inputs.items():
        _exclude(work, name, declared)
    for name in spec.inputs:
        connection.execute(f"drop view {_name(name)}")
        connection.execute(f"drop table {_loaded(name)}")
        work.counts_of_files(name, files[name], stale)
    outputs = {table: _output_columns(work, table) for table in spec.tables}
    for name in spec.inputs:
        _count(work, name)
    made: dict[str, dict[str, _Made]] = {unit: {} for unit in stale}
    at_once = [table for table in spec.tables if _ARRIVED_ON in outputs[table]]
    for table in at_once:
        work.progress(f"writing {table}")
        for unit, output, result in _write_at_once(work, table, outputs[table], stale):
            made[unit][output] = result
    for done, unit in enumerate(stale):
        if len(at_once) < len(spec.tables):
            work.progress(f"writing tables: {done:,} of {len(stale):,}")
        for table in spec.tables:
            for output, day in _outputs(work, table, unit) if table not in at_once else ():
                made[unit][output] = _write(work, table, outputs[table], day, f"{unit}-{table}-{day}.parquet")
    return made


def _load(work: _Work, name: str, declared: InputSpec, files: list[SourceFile]) -> None:
    """Table `_loaded_<name>`: `_source_file`, `_record`, `_day`, the typed columns and `_malformed`, the reason."""
    connection, loaded = work.connection, _loaded(name)
    typed = ", ".join(f"{_name(c)} {s.kind.value}" for c, s in declared.columns.items())
    connection.execute(
        f"create table {loaded} (_path varchar, _order bigint, _record bigint, {typed}, _malformed varchar)"
    )
    groups: dict[Layout, list[SourceFile]] = {}
    for file in files:
        groups.setdefault(layout(declared, file.path), []).append(file)
    paths: dict[str, SourceFile] = {}
    refused: list[_Refused] = []
    for number, (how, group) in enumerate(groups.items()):
        read = {_readable(work, how, file, f"{name}-{number}-{i}"): file for i, file in enumerate(group)}
        paths |= read
        try:
            _read(connection, declared, how, read, loaded)
        except duckdb.Error as error:
            _raise_for_machine(error, work.settings)
            raise _reading_error(connection, how, read) from error
        header = 1 if how.format == "csv" and how.has_header else 0
        work.header_lines |= {(name, file.name): header for file in group}
        if how.format == "csv":
            refused += _refusals(connection, read, header)
    _number_records(connection, declared, loaded, paths, refused)
    for refusal in refused:
        counts = work.counts_of(name, refusal.file)
        counts.records += refusal.lines
        counts.malformed[refusal.reason] = counts.malformed.get(refusal.reason, 0) + refusal.lines
        if len(counts.places) < MALFORMED_SHOWN:
            line = refusal.record + work.header_lines[name, refusal.file.name]
            counts.places.append(Place(file=refusal.file.name, line=line, reason=refusal.reason))
        work.note(name, refusal.file.name, refusal.reason, refusal.lines)


def _read(
    connection: duckdb.DuckDBPyConnection,
    declared: InputSpec,
    how: Layout,
    read: dict[str, SourceFile],
    loaded: str,
) -> None:
    """Append the records of files of one layout to the loaded table."""
    paths = list(read)
    record = "cast(null as bigint)"
    if how.format == "csv":
        columns = ", ".join(f"{_text(column)}: 'VARCHAR'" for column in how.columns)
        relation = (
            f"read_csv({_list(paths)}, auto_detect=false, header={str(how.has_header).lower()}, columns={{{columns}}}, "
            f"delim={_text(how.delimiter)}, quote='\"', escape='\"', filename='_path', store_rejects=true, "
            f"rejects_table='_rejects', rejects_scan='_scans')"
        )
        known = set(how.columns)
    elif how.format == "parquet":
        relation = f"read_parquet({_list(paths)}, filename='_path', file_row_number=true, union_by_name=true)"
        record = "file_row_number + 1"
        described = connection.execute(f"describe select * from {relation}").fetchall()
        known = {str(row[0]) for row in described}
        _check_columns(declared, known, paths)
    else:
        # One JSON object a line: read as text, so that a broken line is one malformed record.
        fields = ", ".join(
            f"json_extract_string(case when json_valid(line) then line end, {_text('$.' + json.dumps(c, ensure_ascii=False))}) as {_name(c)}"
            for c in declared.columns
        )
        relation = (
            f"(select _path, {fields}, case when not coalesce(json_valid(line), false) then 'no JSON object' end as _broken "
            f"from read_csv({_list(paths)}, auto_detect=false, header=false, columns={{'line': 'VARCHAR'}}, delim='\x01', "
            f"quote='', escape='', filename='_path', max_line_size={_MAX_LINE_BYTES}))"
        )
        known = set(declared.columns)
    broken = "_broken" if how.format == "jsonl" else "cast(null as varchar)"
    offset = _one(connection, f"select coalesce(max(_order), 0) from {loaded}")
    present = {c: s for c, s in declared.columns.items() if c in known or s.value}
    values = ", ".join(f"{_value(c, s)} as {_name(c)}" for c, s in present.items())
    cleaned = ", ".join(f"{_cleaned(c, s)} as {_name(c)}" for c, s in present.items())
    typed = ", ".join(
        f"{_typed(c, s) if c in present else 'null'} as {_name('_typed_' + c)}"
        for c, s in declared.columns.items()
    )
    reasons = " ".join(_faults(c, s) for c, s in present.items())
    check = f"case when _broken is not null then _broken {reasons} end"
    connection.execute(
        f"""
        insert into {loaded}
        with numbered as (select *, row_number() over () + {offset} as _order from {relation}),
        valued as (select _path, _order, {record} as _record, {values}, {broken} as _broken from numbered),
        cleaned as (select _path, _order, _record, {cleaned}, _broken from valued),
        typed as (select *, {typed} from cleaned)
        select _path, _order, _record, {", ".join(_name("_typed_" + c) for c in declared.columns)}, {check}
        from typed
        """
    )


def _value(column: str, declared: ColumnSpec) -> str:
    return f"({declared.value})" if declared.value else _name(column)


def _cleaned(column: str, declared: ColumnSpec) -> str:
    """The value, null where it stands for none. Text of numbers and dates loses the blanks around it."""
    name = _name(column)
    text = (
        f"cast({name} as varchar)" if declared.kind is ColumnType.TEXT else f"trim(cast({name} as varchar))"
    )
    empty = ", ".join(_text(value) for value in ("", *declared.empty))
    return f"case when {text} not in ({empty}) then {name} end"


def _typed(column: str, declared: ColumnSpec) -> str:
    name, kind = _name(column), declared.kind
    if declared.formats:
        return f"cast(try_strptime(trim(cast({name} as varchar)), {_list(declared.formats)}) as {kind.value})"
    if kind is ColumnType.INTEGER:
        # 1.5 is no whole number; a plain cast would round it.
        whole = f"regexp_full_match(trim(cast({name} as varchar)), '[+-]?[0-9]+([.]0*)?')"
        return f"case when {whole} then try_cast({name} as {kind.value}) end"
    return f"try_cast({name} as {kind.value})"


def _faults(column: str, declared: ColumnSpec) -> str:
    name, typed = _name(column), _name("_typed_" + column)
    faults = []
    if declared.is_required:
        faults.append(f"when {name} is null then {_text(f'{column} is empty')}")
    if declared.kind is not ColumnType.TEXT:
        faults.append(
            f"when {name} is not null and {typed} is null then {_text(f'{column} is {_NO_VALUE_OF[declared.kind]}')}"
        )
    return " ".join(faults)


def _check_columns(declared: InputSpec, known: set[str], paths: Iterable[str]) -> None:
    missing = [c for c, s in declared.columns.items() if c not in known and not s.may_be_missing]
    if missing:
        raise IntakeError(
            f"{next(iter(paths))}: the column {missing[0]} is missing. Export the file with it."
        )


def _readable(work: _Work, how: Layout, file: SourceFile, label: str) -> str:
    """The path DuckDB reads: the file itself, or a UTF-8 copy of it."""
    if how.encoding.lower().replace("_", "-") in ("utf-8", "utf8", "ascii"):
        return str(file.path)
    return str(transcoded(file.path, how.encoding, work.folder / f"{label}.csv"))


def _refusals(
    connection: duckdb.DuckDBPyConnection, read: dict[str, SourceFile], header: int
) -> list[_Refused]:
    """Records that the CSV reader refused, in order. It keeps their text, of which only line ends are counted."""
    text = "rtrim(r.csv_line, e'\\r\\n')"
    rows = connection.execute(
        f"""
        select s.file_path, r.line, min(r.error_type),
               max(length({text}) - length(replace({text}, e'\\n', '')) + 1)
        from _rejects r join _scans s using (scan_id, file_id)
        group by all order by all
        """
    ).fetchall()
    connection.execute("delete from _rejects")
    connection.execute("delete from _scans")
    refused = []
    for path, line, kind, lines in rows:
        # A quote that nobody closes swallows the lines below it: they are all counted as malformed.
        swallowed = int(lines or 1) if kind == "UNQUOTED VALUE" else 1
        reason = _REFUSALS.get(str(kind), "a record that cannot be read")
        refused.append(_Refused(read[str(path)], int(line) - header, swallowed, reason))
    return refused


def _number_records(
    connection: duckdb.DuckDBPyConnection,
    declared: InputSpec,
    loaded: str,
    paths: dict[str, SourceFile],
    refused: list[_Refused],
) -> None:
    """Add `_source_file`, `_day` and `_record`, the record's number in its file from 1, refused ones counted."""
    connection.execute("create or replace temp table _files (path varchar, file varchar, day date)")
    if paths:
        connection.executemany(
            "insert into _files values (?, ?, ?)", [(p, f.name, f.day) for p, f in paths.items()]
        )
    by_column = declared.arrived_on and declared.arrived_on.column
    day = f"cast(l.{_name(by_column)} as date)" if by_column else "f.day"
    connection.execute(
        f"""
        create table _numbered as
        with first as (select _path, min(_order) as _order from {loaded} group by _path)
        select f.file as _source_file, coalesce(l._record, l._order - first._order + 1) as _record, {day} as _day,
               l.* exclude (_path, _order, _record)
        from {loaded} l join _files f on f.path = l._path join first on first._path = l._path
        order by l._order
        """
    )
    connection.execute(f"drop table {loaded}")
    connection.execute(f"alter table _numbered rename to {loaded}")
    for refusal in refused:
        file = refusal.file.name
        # Records are numbered without the refused ones so far; in order, each pushes those behind it back by one.
        connection.execute(
            f"update {loaded} set _record = _record + 1 where _source_file = ? and _record >= ?",
            [file, refusal.record],
        )


def _reading_error(
    connection: duckdb.DuckDBPyConnection, how: Layout, read: dict[str, SourceFile]
) -> JingxiError:
    """Which of several files cannot be read. The engine's own text is not shown: it may hold values."""
    for path, file in read.items():
        quoted = _list([path])
        relation = {
            "parquet": f"read_parquet({quoted})",
            "jsonl": f"read_csv({quoted}, auto_detect=false, header=false, columns={{'line': 'VARCHAR'}}, delim='\x01', quote='', escape='')",
        }.get(how.format, f"read_csv({quoted}, all_varchar=true, ignore_errors=true)")
        try:
            connection.execute(f"select count(columns(*)) from {relation}").fetchall()
        except duckdb.Error:
            return unreadable(file.path)
    first = next(iter(read.values()))
    return IntakeError(
        f"{first.path} does not fit the columns that the adapter declares for it. Check its value expressions."
    )


# ---------------------------------------------------------------- every record is explained


def _check_malformed_share(work: _Work) -> None:
    """Raise IntakeError when too large a share of a file is malformed in the same way."""
    allowed = work.settings.intake.max_failed_share
    for name in work.spec.inputs:
        for file, reason, count in work.connection.execute(
            f"select _source_file, _malformed, count(*) from {_loaded(name)} group by all"
        ).fetchall():
            work.note(name, file, reason, count)
    bad = [
        f"{file} ({count:,} of {work.records[name, file]:,} records: {reason})"
        for (name, file, reason), count in sorted(work.failed.items())
        if count > allowed * work.records[name, file]
    ]
    if bad:
        raise IntakeError(
            f"{len(bad)} file{'s have' if len(bad) > 1 else ' has'} more malformed records than intake.max_failed_share "
            f"({allowed:.0%}) allows: {'; '.join(bad)}. Correct the files or the adapter; nothing was taken in."
        )


def _exclude(work: _Work, name: str, declared: InputSpec) -> None:
    """Add `_left_out` to a loaded input: malformed, the first exclusion that holds, or null."""
    cases = " ".join(f"when ({e.where}) then {_text(e.reason)}" for e in declared.exclude)
    left_out = f"case when _malformed is not null then 'malformed' {cases} end"
    try:
        work.connection.execute(
            f"create table {_judged(name)} as select *, {left_out} as _left_out from {_loaded(name)}"
        )
    except duckdb.Error as error:
        _raise_for_machine(error, work.settings)
        for index, exclusion in enumerate(declared.exclude):
            try:
                work.connection.execute(
                    f"select count(*) filter (where ({exclusion.where})) from {_loaded(name)}"
                )
            except duckdb.Error as cause:
                where = work.spec.where("inputs", name, "exclude", str(index), "where")
                raise UsageError(f"{where}: {_sql_problem(cause)}.") from cause
        raise UsageError(f"{work.spec.where('inputs', name, 'exclude')}: {_sql_problem(error)}.") from error


def _count(work: _Work, name: str) -> None:
    """Count what became of every record of an input, and refuse records that nothing explains."""
    spec = work.spec
    tables = [table for table in spec.tables if name in spec.tables[table].source]
    reached = ", ".join(
        f"case when ({spec.tables[table].condition(name)}) then {_text(table)} end" for table in tables
    )
    by_file = spec.inputs[name].is_daily_by_file
    unit = "cast(_day as varchar)" if by_file else _text(_WHOLE)
    try:
        rows = work.connection.execute(
            f"""
            select {unit}, _left_out, _malformed,
                   case when _left_out is null then concat_ws('+', {reached}) end as _reached, count(*),
                   min(_source_file), arg_min(_record, (_source_file, _record))
            from {_judged(name)} group by all order by all
            """
        ).fetchall()
    except duckdb.Error as error:
        raise UsageError(f"{spec.where('tables', tables[0], 'from')}: {_sql_problem(error)}.") from error
    for key, left_out, malformed, mapped, count, file, record in rows:
        counts = work.counts.setdefault((name, str(key)), InputCounts())
        counts.records += count
        if malformed is not None:
            counts.malformed[malformed] = counts.malformed.get(malformed, 0) + count
        elif left_out is not None:
            counts.excluded[left_out] = count
        elif mapped:
            counts.mapped[mapped] = count
        else:
            raise UsageError(
                f"{spec.where('inputs', name)}: {count:,} records of {name} reach no table and no exclusion names them, "
                f"the first being record {record} of {file}. Widen a table's from or add an exclusion."
            )
    for file, record, reason, key in work.connection.execute(
        f"""
        select _source_file, _record, _malformed, {unit} from {_judged(name)} where _malformed is not null
        order by _source_file, _record limit {MALFORMED_SHOWN}
        """
    ).fetchall():
        line = record + work.header_lines[name, file]
        work.counts[name, str(key)].places.append(Place(file=file, line=line, reason=reason))
    for (counted, _), counts in work.counts.items():
        if counted == name and counts.malformed:
            counts.places = sorted(counts.places, key=lambda p: (p.file, p.line))[:MALFORMED_SHOWN]


# ---------------------------------------------------------------- tables


def _outputs(work: _Work, table: str, unit: str) -> list[tuple[str, str | None]]:
    """(output, day) of a table in a unit; an output is `<table>` or `<table>/<day>`."""
    inputs = work.spec.inputs
    sources = work.spec.tables[table].source
    is_daily = any(inputs[name].is_daily_by_file for name in sources)
    if is_daily != (unit != _WHOLE):
        return []
    if is_daily:
        return [(f"{table}/{unit}", unit)]
    by_column = [name for name in sources if inputs[name].arrived_on]
    if not by_column:
        return [(table, None)]
    days = " union ".join(
        f"select cast(_day as varchar) from {_judged(n)} where _left_out is null and ({work.spec.tables[table].condition(n)})"
        for n in by_column
    )
    found = work.connection.execute(f"select * from ({days}) order by 1").fetchall()
    return [(f"{table}/{day}", str(day)) for (day,) in found]


def _show_inputs(work: _Work, table: str, day: str | None) -> None:
    """Make the views that the table's SQL sees: its inputs, filtered by `from` and by day."""
    declared = work.spec.tables[table]
    for name, spec in work.spec.inputs.items():
        if name not in declared.source:
            work.connection.execute(f"drop view if exists {_name(name)}")
            continue
        filters = ["_left_out is null", f"({declared.condition(name)})"]
        if spec.arrived_on and day:
            filters.append(f"_day = date {_text(day)}")
        work.connection.execute(
            f"create or replace view {_name(name)} as select * exclude (_malformed, _left_out, _day), _day as _arrived_on "
            f"from {_judged(name)} where {' and '.join(filters)}"
        )


def _output_columns(work: _Work, table: str) -> dict[str, str]:
    """{column: expression} that give a table's columns the types of the input layer. Raises UsageError."""
    contract, spec = TABLES_BY_NAME[table], work.spec
    where = spec.where("tables", table, "sql")
    _show_inputs(work, table, None)
    try:
        described = work.connection.execute(
            f"describe select * from (\n{spec.tables[table].sql}\n)"
        ).fetchall()
    except duckdb.Error as error:
        raise UsageError(f"{where}: {_sql_problem(error)}.") from error
    found = {str(row[0]): str(row[1]) for row in described}
    missing = [column for column in contract.required_columns if column not in found]
    if missing:
        raise UsageError(
            f"{where}: the table {table} needs the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}."
        )
    selected = {}
    for name, kind in found.items():
        column = contract.column(name)
        if column is not None:
            selected[name] = _output(column.type, kind, name)
        elif name == _ARRIVED_ON and any(spec.inputs[used].arrived_on for used in spec.tables[table].source):
            selected[name] = f"cast({_ARRIVED_ON} as date)"
        else:
            known = [c.name for c in contract.columns]
            raise UsageError(
                f"{where}: the table {table} has no column {name!r}{suggest(name, known)}. "
                "Further values go into properties, one JSON object."
            )
    return selected


def _output(wanted: Type, found: str, name: str) -> str:
    if wanted is Type.TIMESTAMP and found.startswith(("TIMESTAMP", "VARCHAR")):
        return _name(name)  # text, and a moment with its zone, stay so: intake knows what to do with either
    return f"cast({_name(name)} as {'varchar' if wanted is Type.JSON else wanted.value})"


def _write(work: _Work, table: str, columns: dict[str, str], day: str | None, file_name: str) -> _Made:
    """Write one Parquet file, rows in a fixed order."""
    _show_inputs(work, table, day)
    return _copy(work, table, _selected(work, table, columns), file_name)


def _write_at_once(
    work: _Work, table: str, columns: dict[str, str], stale: Sequence[str]
) -> Iterator[tuple[str, str, _Made]]:
    """Run a table's SQL once over all days, then write the Parquet file of each: (unit, output, file).

    Not with COPY … PARTITION_BY, which is faster still: it lets go of the order of some days' rows.
    """
    _show_inputs(work, table, None)
    spec, where = work.spec, work.spec.where("tables", table, "sql")
    query = f"create table _at_once as {_selected(work, table, columns)} order by {_ARRIVED_ON}"
    try:
        work.connection.execute(query)
    except duckdb.Error as error:
        _raise_for_machine(error, work.settings)
        raise UsageError(f"{where}: {_sql_problem(error)}.") from error
    found = [
        row[0] for row in work.connection.execute(f"select distinct {_ARRIVED_ON} from _at_once").fetchall()
    ]
    days = {str(day) for day in found}
    if any(spec.inputs[name].is_daily_by_file for name in spec.tables[table].source):
        known = {unit for unit in stale if unit != _WHOLE}
        units = {day: day for day in known}
    else:
        known = days - {"None"}
        units = dict.fromkeys(known, _WHOLE) if _WHOLE in stale else {}
    if days - known:
        raise UsageError(f"{where}: {_ARRIVED_ON} must be the day that the inputs have under this name.")
    # A day's file is too small for more than one thread to pay.
    threads = _one(work.connection, "select current_setting('threads')")
    if len(units) > 1:
        work.connection.execute("set threads = 1")
    for day in sorted(units):
        rows = f"select * exclude ({_ARRIVED_ON}) from _at_once where {_ARRIVED_ON} = date {_text(day)}"
        yield units[day], f"{table}/{day}", _copy(work, table, rows, f"{table}-{day}.parquet")
    work.connection.execute(f"set threads = {threads}")
    work.connection.execute("drop table _at_once")


def _selected(work: _Work, table: str, columns: dict[str, str]) -> str:
    selected = ", ".join(f"{expression} as {_name(name)}" for name, expression in columns.items())
    return f"select {selected} from (\n{work.spec.tables[table].sql}\n)"


def _copy(work: _Work, table: str, query: str, file_name: str) -> _Made:
    file = work.folder / "out" / file_name
    copy = f"copy ({query} order by all) to {_text(str(file))} (format parquet, compression zstd)"
    try:
        rows = _one(work.connection, copy)
    except duckdb.Error as error:
        _raise_for_machine(error, work.settings)
        raise UsageError(f"{work.spec.where('tables', table, 'sql')}: {_sql_problem(error)}.") from error
    return _Made(file, rows)


def _land(work: _Work, made: dict[str, _Made], known: _Unit | None) -> list[Path]:
    """Put a unit's files into the landing folder, each in one step. Returns the new and the changed ones."""
    written = []
    for output, result in made.items():
        target = _landing_file(work.home, work.spec, output)
        if result.rows == 0 and not target.exists() and output not in (known.rows if known else ()):
            continue  # nothing to say, and nothing said before that it would replace
        if target.exists() and filecmp.cmp(result.file, target, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        result.file.replace(target)
        written.append(target)
    return written


def _landing_file(home: Home, spec: DatasetSpec, output: str) -> Path:
    table, _, day = output.partition("/")
    folder = home.landing / table
    return (folder / f"dt={day}" if day else folder) / f"{spec.name}.parquet"


def _report(spec: DatasetSpec, state: _State, not_read: list[str]) -> DatasetReport:
    inputs = {name: InputCounts() for name in spec.inputs}
    tables = dict.fromkeys(spec.tables, 0)
    for unit in state.units.values():
        for name, counts in unit.counts.items():
            if name in inputs:
                inputs[name].add(counts)
        for output, rows in unit.rows.items():
            table = output.partition("/")[0]
            if table in tables:
                tables[table] += rows
    return DatasetReport(
        dataset=spec.name,
        title=spec.title,
        days=sum(unit != _WHOLE for unit in state.units),
        inputs=inputs,
        reasons={n: {e.reason: e.text for e in declared.exclude} for n, declared in spec.inputs.items()},
        tables=tables,
        files_not_read=not_read,
    )


# ---------------------------------------------------------------- SQL text


def _raise_for_machine(error: duckdb.Error, settings: Settings) -> None:
    """Raise JingxiError when the machine is at fault, neither the files nor the adapter."""
    if isinstance(error, duckdb.OutOfMemoryException):
        raise JingxiError(
            f"Preparing the files needs more memory than engine.memory_limit {settings.engine.memory_limit}. Raise it."
        ) from error
    if "No space left" in str(error):
        raise JingxiError("The disk is full: make room in the home folder, then run again.") from error


def _sql_problem(error: duckdb.Error) -> str:
    """What is wrong with the adapter's SQL. Errors that depend on data are not quoted: they may hold values."""
    if isinstance(
        error,
        duckdb.ParserException
        | duckdb.BinderException
        | duckdb.CatalogException
        | duckdb.PermissionException,
    ):
        return "the SQL does not work: " + first_line(error).rstrip(".")
    return "the SQL fails on a value that does not fit its type; try_cast gives null instead"


def _loaded(name: str) -> str:
    return _name(f"_loaded_{name}")


def _judged(name: str) -> str:
    return _name(f"_judged_{name}")


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(_text(value) for value in values) + "]"


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
