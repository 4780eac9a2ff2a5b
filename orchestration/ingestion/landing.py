"""What lies in a landing folder: one folder per input table, files at any depth below it."""

from __future__ import annotations

import datetime as dt
import difflib
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from orchestration.errors import UsageError
from orchestration.ingestion.contracts import TABLES_BY_NAME, Table

_SKIPPED_PREFIXES = (".", "_")
_SKIPPED_SUFFIXES = (".part", ".tmp", ".crdownload")
_DAY = re.compile(r"(?:^|/)dt=([^/.]+)")


class Format(StrEnum):
    """How records are written in a file."""

    CSV = "csv"
    JSON_LINES = "jsonl"
    PARQUET = "parquet"


_FORMATS = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".txt": Format.CSV,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".json": Format.JSON_LINES,
    ".parquet": Format.PARQUET,
}


@dataclass(frozen=True)
class LandingFile:
    """One file of a landing folder. `name` is its path below the landing folder, with `/`.

    `arrived_on` is the day in a `dt=` part of the path. `problem` says why the file cannot be read at all.
    """

    table: Table
    path: Path
    name: str
    format: Format | None
    is_gzip: bool
    arrived_on: dt.date | None
    problem: str | None = None


def discover(landing: Path) -> list[LandingFile]:
    """Files of a landing folder by table and path; hidden, unfinished and `_` files are left out.

    Raises UsageError when the folder does not exist, when it holds a folder that is no input table or a
    data file outside every table's folder, or a link.
    """
    if not landing.is_dir():
        raise UsageError(
            f"The landing folder {landing} does not exist. Make it, with one folder per input table "
            "such as orders/, or name another one with --landing."
        )
    files: list[LandingFile] = []
    try:
        for entry in sorted(os.scandir(landing), key=lambda entry: entry.name):
            if _is_skipped(entry.name):
                continue
            _refuse_link(entry, entry.name)
            if entry.is_dir():
                files.extend(_table_files(landing, _table(landing, entry.name)))
            elif _format(entry.name)[0] is not None:
                raise UsageError(
                    f"{landing}/{entry.name} lies outside every table's folder. Move it into the folder of its "
                    "table, such as orders/."
                )
    except OSError as error:
        raise UsageError(f"{error.filename or landing} cannot be read: {error.strerror}.") from error
    return sorted(files, key=lambda file: (file.table.name, file.name))


def _table(landing: Path, name: str) -> Table:
    table = TABLES_BY_NAME.get(name)
    if table is None:
        close = difflib.get_close_matches(name.lower(), TABLES_BY_NAME, n=1, cutoff=0.5)
        hint = (
            f"Did you mean {close[0]}?" if close else f"Input tables are {', '.join(sorted(TABLES_BY_NAME))}."
        )
        raise UsageError(f"{landing / name} is no input table. {hint}")
    return table


def _table_files(landing: Path, table: Table) -> list[LandingFile]:
    files: list[LandingFile] = []
    folders = [landing / table.name]
    while folders:
        for entry in os.scandir(folders.pop()):
            if _is_skipped(entry.name):
                continue
            name = Path(entry.path).relative_to(landing).as_posix()
            _refuse_link(entry, name)
            if entry.is_dir():
                folders.append(Path(entry.path))
            elif entry.is_file():
                files.append(_landing_file(table, Path(entry.path), name))
    return files


def _landing_file(table: Table, path: Path, name: str) -> LandingFile:
    kind, is_gzip = _format(path.name)
    problem = None
    if kind is None:
        problem = (
            "is no CSV, JSON lines or Parquet file by its name (.csv, .jsonl, .parquet, .csv.gz, .jsonl.gz)"
        )
    arrived_on = None
    days = _DAY.findall(name)
    if days:
        try:
            arrived_on = dt.date.fromisoformat(days[-1])
        except ValueError:
            problem = "has a dt= in its path that is no day; write it as dt=2026-01-31"
    return LandingFile(table, path, name, kind, is_gzip, arrived_on, problem)


def _format(name: str) -> tuple[Format | None, bool]:
    path = PurePosixPath(name.lower())
    is_gzip = path.suffix == ".gz"
    kind = _FORMATS.get(PurePosixPath(path.stem).suffix if is_gzip else path.suffix)
    return (None if is_gzip and kind is Format.PARQUET else kind), is_gzip


def _is_skipped(name: str) -> bool:
    return name.startswith(_SKIPPED_PREFIXES) or name.lower().endswith(_SKIPPED_SUFFIXES)


def _refuse_link(entry: os.DirEntry[str], name: str) -> None:
    if entry.is_symlink():
        raise UsageError(
            f"{name} in the landing folder is a link. Links are not followed: put the file itself there."
        )
