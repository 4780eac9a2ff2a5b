"""Records of a run as files: collected in an engine that spills to disk, written as a whole.

Two profiles: `csv` and `xlsx` for people (nothing runs as a formula, digits stay digits), `csv_machine`, `parquet` and
`jsonl` for machines (raw values). The same records give the same bytes.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
from pydantic import JsonValue

from orchestration.destinations.protocol import Record, RunInfo
from orchestration.writing import cells, csv_files, files
from orchestration.writing.xlsx import CellKind, SheetColumn, write_xlsx

FileFormat = Literal["csv", "xlsx", "csv_machine", "parquet", "jsonl"]
FILE_NAMES: Mapping[FileFormat, str] = {
    "csv": "records.csv",
    "xlsx": "records.xlsx",
    "csv_machine": "records_machine.csv",
    "parquet": "records.parquet",
    "jsonl": "records.jsonl",
}
MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
_PEOPLE = frozenset({"csv", "xlsx"})
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class WrittenFile:
    """A whole file in the folder that `RecordTable.write` was given."""

    path: Path
    format: str
    rows: int
    bytes: int
    sha256: str


class RecordTable:
    """Rows of one run: key, operation (with a mode that removes) and the declared fields, in the order of arrival.

    A column's type follows from its values: whole numbers, numbers or true/false if all are, else text; lists and
    objects are JSON text. Memory is bounded: the engine spills below `work`.
    """

    def __init__(self, run: RunInfo, work: Path, *, with_operation: bool) -> None:
        self._run = run
        self._work = work
        self._names = [run.key_type, *(["operation"] if with_operation else []), *run.fields]
        self._with_operation = with_operation
        self._kinds: list[set[str]] = [set() for _ in self._names]
        self.rows = 0
        self._session = duckdb.connect(
            ":memory:", config={"memory_limit": "256MB", "threads": 2, "temp_directory": str(work / "spill")}
        )
        columns = ", ".join(f"c{at} varchar" for at in range(len(self._names)))
        self._session.execute(f"create table records (position bigint, {columns})")

    def add(self, records: Sequence[Record]) -> None:
        """Take further rows. Raises duckdb.Error when the disk is full."""
        columns: list[list[str | None]] = [[] for _ in self._names]
        for record in records:
            values: list[JsonValue] = [record.key, *([record.operation] if self._with_operation else [])]
            values += [record.fields.get(name) for name in self._run.fields]
            for at, value in enumerate(values):
                text, kind = _text(value)
                columns[at].append(text)
                if kind:
                    self._kinds[at].add(kind)
        positions = pa.array(range(self.rows + 1, self.rows + 1 + len(records)), pa.int64())
        arrays = [positions, *(pa.array(column, pa.string()) for column in columns)]
        names = ["position", *(f"c{at}" for at in range(len(self._names)))]
        batch = pa.table(arrays, names=names)
        self._session.register("batch", batch)
        self._session.execute("insert into records select * from batch")
        self._session.unregister("batch")
        self.rows += len(records)

    def write(self, folder: Path, formats: Sequence[FileFormat], *, prefix: str = "") -> list[WrittenFile]:
        """Write the files into `folder`, flushed to disk, mode 0600. Raises OSError and duckdb.Error."""
        self._session.execute(
            f"create or replace view typed as select position, {self._typed()} from records"
        )
        writers = {
            "csv": self._write_csv,
            "xlsx": self._write_xlsx,
            "csv_machine": self._write_machine_csv,
            "parquet": self._write_parquet,
            "jsonl": self._write_jsonl,
        }
        written = []
        for file_format in formats:
            path = folder / (prefix + FILE_NAMES[file_format])
            writers[file_format](path)
            path.chmod(0o600)
            files.flush_file(path)
            written.append(WrittenFile(path, file_format, self.rows, path.stat().st_size, files.sha256(path)))
        return written

    def close(self) -> None:
        """Forget all rows."""
        self._session.close()

    # --- types ---

    def _type(self, at: int) -> str:
        kinds = self._kinds[at]
        if kinds == {"integer"}:
            return "bigint"
        if kinds and kinds <= {"integer", "number"}:
            return "double"
        return "boolean" if kinds == {"boolean"} else "varchar"

    def _typed(self) -> str:
        return ", ".join(f"cast(c{at} as {self._type(at)}) as c{at}" for at in range(len(self._names)))

    def _kind(self, at: int) -> CellKind:
        kinds: dict[str, CellKind] = {"bigint": "integer", "double": "number", "boolean": "boolean"}
        return kinds.get(self._type(at), "text")

    # --- formats ---

    def _write_csv(self, path: Path) -> None:
        expressions = [
            cells.sql_human_csv_text(f"c{at}") if self._kind(at) == "text" else f"c{at}"
            for at in range(len(self._names))
        ]
        self._rows(path, expressions, csv_files.human_header(self._names), "\\r\\n")

    def _write_machine_csv(self, path: Path) -> None:
        expressions = [f"c{at}" for at in range(len(self._names))]
        self._rows(path, expressions, csv_files.machine_header(self._names), "\\n")

    def _rows(self, path: Path, expressions: Sequence[str], header: bytes, newline: str) -> None:
        csv_files.write_rows(
            path,
            session=self._session,
            rows="typed",
            expressions=expressions,
            header=header,
            newline=newline,
            body=self._work / "rows.csv",
        )

    def _write_parquet(self, path: Path) -> None:
        self._copy(path, "format parquet, compression zstd")

    def _write_jsonl(self, path: Path) -> None:
        self._copy(path, "format json")

    def _copy(self, path: Path, options: str) -> None:
        columns = ", ".join(f"c{at} as {_name(name)}" for at, name in enumerate(self._names))
        place = "'" + str(path).replace("'", "''") + "'"
        self._session.execute(f"copy (select {columns} from typed order by position) to {place} ({options})")

    def _write_xlsx(self, path: Path) -> None:
        temp = self._work / "xlsx"
        temp.mkdir(mode=0o700)
        write_xlsx(
            path,
            session=self._session,
            rows="typed",
            sheet_name="名单",
            columns=[SheetColumn(name, f"c{at}", self._kind(at), 18) for at, name in enumerate(self._names)],
            about_name="说明",
            about=[
                ("人群 Audience", self._run.audience),
                ("触达 Activation", self._run.activation),
                ("统计日 As of", self._run.as_of.isoformat()),
                ("条数 Rows", str(self.rows)),
            ],
            created=dt.datetime.combine(self._run.as_of, dt.time()),
            temp_folder=temp,
        )
        files.remove(temp)


def manifest(run: RunInfo, written: Sequence[WrittenFile], *, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs together and how to see that it is whole; holds no personal data and no clock."""
    return {
        "format": MANIFEST_FORMAT,
        "activation": run.activation,
        "audience": run.audience,
        "run": run.run_id,
        "as_of_date": run.as_of.isoformat(),
        "mode": run.mode,
        "key": run.key_type,
        "fields": list(run.fields),
        **extra,
        "files": [
            {
                "name": own.path.name,
                "format": own.format,
                "rows": own.rows,
                "bytes": own.bytes,
                "sha256": own.sha256,
                **({"rules": list(csv_files.HUMAN_RULES)} if own.format == "csv" else {}),
                "profile": "human" if own.format in _PEOPLE else "machine",
            }
            for own in written
        ],
    }


def _text(value: JsonValue) -> tuple[str | None, str]:
    """A value as text, and its kind; an empty kind says nothing about the column."""
    if value is None:
        return None, ""
    if isinstance(value, bool):
        return ("true" if value else "false"), "boolean"
    if isinstance(value, int):
        return str(value), "integer" if _SMALLEST <= value <= _LARGEST else "text"
    if isinstance(value, float):
        return repr(value), "number"
    if isinstance(value, str):
        return value, "text"
    return json.dumps(value, ensure_ascii=False, sort_keys=True), "text"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
