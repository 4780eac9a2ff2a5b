"""Writes the landing folder: one format per table, damaged lines and repeated files where they are planned."""

from __future__ import annotations

import codecs
import gzip
import json
import shutil
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from orchestration.ingestion.contracts import TABLES_BY_NAME, Table, Type
from orchestration.ingestion.simulator import identifiers
from orchestration.ingestion.simulator.window import NEVER, Window, generator

BROKEN_SHARE = 0.001
# A file with fewer lines stays whole: one bad line of twenty would be a file to refuse.
_LINES_PER_BROKEN = 50
_REPEATED_FILES_SHARE = 0.01
_LONGEST_QUEUE = 3


@dataclass(frozen=True)
class Format:
    """How a table's files are written."""

    suffix: str
    delimiter: str = ","
    encoding: str = "utf-8"
    with_bom: bool = False

    @property
    def is_parquet(self) -> bool:
        """Whether the files are Parquet."""
        return self.suffix == ".parquet"

    @property
    def is_json(self) -> bool:
        """Whether the files are JSON lines."""
        return self.suffix.startswith(".jsonl")


_CSV = Format(".csv")
_PARQUET = Format(".parquet")
# Every dialect that intake reads is used by some table.
_FORMATS = {
    "contacts": Format(".csv.gz"),
    "landing_codes": Format(".csv", delimiter=";"),
    "products": Format(".csv", encoding="gb18030"),
    "contents": Format(".csv", with_bom=True),
    "group_memberships": Format(".csv", delimiter="\t"),
    "identity_links": _PARQUET,
    "touches": _PARQUET,
    "coupons": _PARQUET,
    "surveys": Format(".jsonl"),
    "consents": Format(".csv.gz"),
    "events": Format(".jsonl.gz"),
}


class Landing:
    """A landing folder that is being written. `rows` counts good rows by table, `broken` damaged lines by
    (table, damage). Use `close` when done."""

    def __init__(self, folder: Path, window: Window, seed: int, *, parquet_events: bool) -> None:
        self.folder, self._window, self._seed = folder, window, seed
        self.parquet_events = parquet_events
        self._formats = {**_FORMATS, "events": _PARQUET if parquet_events else _FORMATS["events"]}
        self.rows: Counter[str] = Counter()
        self.broken: Counter[tuple[str, str]] = Counter()
        self.files: list[Path] = []
        self.repeated_files: list[tuple[str, Path, Path]] = []
        self._owed: dict[str, float] = {}
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._queue: deque[Future[None]] = deque()
        # One thread: the same bytes on every machine.
        self._connection = duckdb.connect(
            config={"threads": 1, "autoinstall_known_extensions": False, "memory_limit": "1GB"}
        )
        start = f"timestamp '{window.start} 00:00:00'"
        self._connection.execute(
            f"""
            create macro moment(seconds) as case when seconds < {NEVER} then
                {start} + to_seconds(cast(seconds as bigint)) end;
            create macro money(fen) as cast(cast(fen as decimal(18, 0)) * 0.01 as decimal(18, 2));
            create macro pick(names, code) as case when code >= 0 then names[code + 1] end;
            create macro numbered(prefix, number, digits) as case when number >= 0 then
                prefix || lpad(cast(number + 1 as varchar), digits, '0') end;
            {identifiers.MACROS}
            """
        )

    def close(self) -> None:
        """Drops what is not written yet and lets the engine go."""
        self._writer.shutdown(cancel_futures=True)
        self._connection.close()

    def write(
        self,
        table: str,
        day: int,
        columns: Mapping[str, NDArray[Any] | list[Any]],
        select: str,
        part: str = "",
    ) -> None:
        """Writes one file that arrives on `day`: `select` is the select list over `columns`, in their order.
        Nothing is written without rows."""
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        count = len(next(iter(arrays.values())))
        if not count:
            return
        form = self._formats.get(table, _CSV)
        file = self.folder / table / f"dt={self._window.date(day)}" / f"{table}{form.suffix}"
        self.rows[table] += count
        self.files.append(file)
        # Simulating goes on meanwhile; a short queue bounds the memory.
        self._queue.append(
            self._writer.submit(self._write_file, TABLES_BY_NAME[table], form, file, day, arrays, select)
        )
        if len(self._queue) > _LONGEST_QUEUE:
            self._queue.popleft().result()

    def flush(self) -> None:
        """Waits until everything is written."""
        while self._queue:
            self._queue.popleft().result()

    def _write_file(
        self, table: Table, form: Format, file: Path, day: int, arrays: dict[str, NDArray[Any]], select: str
    ) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        plain = file.with_suffix("") if form.suffix.endswith(".gz") else file
        self._copy(arrays, select, plain, form)
        if not form.is_parquet:
            self._finish_text(table, form, plain, file, len(next(iter(arrays.values()))), day)

    def _copy(self, arrays: dict[str, NDArray[Any]], select: str, file: Path, form: Format) -> None:
        # One thread keeps the order of the arrays.
        self._connection.register("simulated", arrays)
        self._connection.execute(
            f"copy (select {select} from simulated) to {_quoted(file)} ({_options(form)})"
        )
        self._connection.unregister("simulated")

    def write_truth(self, folder: Path, name: str, columns: Mapping[str, Any], select: str) -> None:
        """Writes one Parquet file of planted truth."""
        self.flush()
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {column: np.asarray(values) for column, values in columns.items()}
        self._copy(arrays, select, folder / f"{name}.parquet", _PARQUET)

    def repeat_files(self) -> None:
        """Delivers some files a second time under another name, on the next day that has files of the table."""
        self.flush()
        candidates = [
            file for file in self.files if file.parent.parent.name in ("events", "orders", "members")
        ]
        wanted = min(len(candidates), max(3, round(len(self.files) * _REPEATED_FILES_SHARE)))
        random = generator(self._seed, "repeated files")
        for place in sorted(random.permutation(len(candidates))[:wanted]):
            file = candidates[place]
            table = file.parent.parent.name
            days = sorted({other.parent for other in candidates if other.parent.parent.name == table})
            later = days[min(days.index(file.parent) + 1, len(days) - 1)]
            copy = later / file.name.replace(table, f"{table}_again", 1)
            shutil.copyfile(file, copy)
            self.repeated_files.append((table, file, copy))
        self.files.extend(copy for _, _, copy in self.repeated_files)

    def _finish_text(self, table: Table, form: Format, plain: Path, file: Path, count: int, day: int) -> None:
        """Damages lines, changes the encoding, compresses."""
        owed = self._owed.get(table.name, 0.5) + count * BROKEN_SHARE
        broken = min(int(owed), count // _LINES_PER_BROKEN)
        self._owed[table.name] = owed - broken
        if not broken and plain == file and form.encoding == "utf-8" and not form.with_bom:
            return
        content = plain.read_bytes()
        if broken:
            content = self._with_broken_lines(table, form, content, broken, day)
        if form.encoding != "utf-8":
            content = content.decode("utf-8").encode(form.encoding)
        if form.with_bom:
            content = codecs.BOM_UTF8 + content
        if plain != file:
            plain.unlink()
            content = gzip.compress(content, compresslevel=1, mtime=0)
        file.write_bytes(content)

    def _with_broken_lines(self, table: Table, form: Format, content: bytes, broken: int, day: int) -> bytes:
        lines = content.splitlines()
        random = generator(self._seed, f"broken {table.name}", day)
        first = 0 if form.is_json else 1
        for place in sorted(random.permutation(np.arange(first, len(lines)))[:broken].tolist(), reverse=True):
            turn = sum(number for (name, _), number in self.broken.items() if name == table.name)
            damage, line = _damaged(table, form, lines[0].decode(), lines[place].decode(), turn)
            if line is None:
                self._owed[table.name] += 1
                continue
            lines.insert(place + 1, line.encode())
            self.broken[table.name, damage] += 1
        return b"\n".join(lines) + b"\n"


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _options(form: Format) -> str:
    if form.is_parquet:
        return "format parquet, compression zstd, row_group_size 122880"
    if form.is_json:
        return "format json"
    return f"format csv, header true, delimiter '{form.delimiter}'"


def _damaged(table: Table, form: Format, header: str, line: str, turn: int) -> tuple[str, str | None]:
    """(damage, a broken copy of the line), or no line where this one cannot be broken in that way."""
    required = [column for column in table.columns if column.required]
    numbers = [column.name for column in table.columns if column.type in (Type.DECIMAL, Type.INTEGER)]
    dates = [column.name for column in table.columns if column.type in (Type.DATE, Type.TIMESTAMP)]
    ways = ["columns", "missing"] + ["date"] * bool(dates) + ["number"] * bool(numbers)
    damage = ways[turn % len(ways)]
    if form.is_json:
        if damage == "columns":
            return "cut", line[: len(line) // 2]
        values = json.loads(line)
        if damage == "missing":
            values[required[-1].name] = None
        elif damage == "date":
            values[dates[0]] = "2026-13-45T25:61:00"
        return damage, json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    names, fields = header.split(form.delimiter), line.split(form.delimiter)
    if len(names) != len(fields) or '"' in line:
        return damage, None
    if damage == "columns":
        extra = [*fields, "one", "too many"]
        return damage, form.delimiter.join(extra if turn % 2 == 0 else fields[: len(fields) // 2])
    filled = {name: place for place, name in enumerate(names) if fields[place]}
    wanted = {"missing": [column.name for column in required], "date": dates, "number": numbers}[damage]
    places = [filled[name] for name in wanted if name in filled]
    if not places:
        return damage, None
    fields[places[-1 if damage == "missing" else 0]] = {
        "missing": "",
        "date": "2026-02-31 12:00:00",
        "number": "twelve",
    }[damage]
    return damage, form.delimiter.join(fields)
