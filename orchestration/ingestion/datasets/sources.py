"""Finding the files of a source and how each of them is written."""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import gzip
import hashlib
import importlib.util
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import BaseModel

from orchestration.errors import IntakeError, UsageError
from orchestration.ingestion.datasets.spec import DatasetSpec, InputSpec

_DELIMITERS = (",", ";", "\t", "|")
_SNIFFED_BYTES = 1 << 20
_PIECE = 1 << 20
_FIRST_RECORD = 1 << 16  # characters
_NATIVE_FORMATS = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class KnownFile(BaseModel):
    """What is remembered of a source file, so that an unchanged one is not read again."""

    size: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True)
class SourceFile:
    """One file of an input. `name` is its path below the source folder."""

    path: Path
    name: str
    day: dt.date | None
    known: KnownFile


@dataclass(frozen=True)
class Layout:
    """How a file is written. Files of one layout are read together.

    `columns` are the columns in the file's order: the adapter's name where it declares the column, else a name
    of its own.
    """

    format: str
    columns: tuple[str, ...]
    has_header: bool = True
    delimiter: str = ","
    encoding: str = "utf-8"


def find_source(spec: DatasetSpec, source: Path | None) -> Path:
    """The folder to read: `source`, else the data of the adapter's Python package. Raises UsageError."""
    if source is not None:
        if not source.is_dir():
            raise UsageError(f"The source folder {source} does not exist. {_what_to_get(spec)}")
        return source
    if spec.package is None:
        raise UsageError(
            f"The dataset {spec.name} needs files: name their folder with --source. {_what_to_get(spec)}"
        )
    # Only the package's place is looked up; it is not imported, which would import what it imports.
    found = importlib.util.find_spec(spec.package.module)
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            f"The dataset {spec.name} needs the Python package {spec.package.module}, which is not installed, "
            f"or its files under --source. {_what_to_get(spec)}"
        )
    return Path(found.submodule_search_locations[0]) / spec.package.folder


def find_files(
    spec: DatasetSpec, source: Path, remembered: Mapping[str, KnownFile]
) -> tuple[dict[str, list[SourceFile]], list[str]]:
    """Files of each input, sorted by name, and the names of files that match but are not read.

    Raises UsageError when an input has no file, IntakeError when a daily file's name holds no day.
    """
    files: dict[str, list[SourceFile]] = {}
    not_read: list[str] = []
    for name, declared in spec.inputs.items():
        matches = [sorted(p for p in source.glob(pattern) if p.is_file()) for pattern in declared.files]
        found = list(dict.fromkeys(path for group in matches for path in group))
        taken = found[:1] if declared.take == "one" else sorted(found)
        not_read += [path.relative_to(source).as_posix() for path in found if path not in taken]
        if not taken and not declared.optional:
            raise UsageError(
                f"{source} holds no file {' or '.join(declared.files)}, which the dataset {spec.name} needs as "
                f"{name}. {_what_to_get(spec)}"
            )
        files[name] = [
            SourceFile(path, relative, _day(declared, path), _known(path, remembered.get(relative)))
            for path in taken
            for relative in (path.relative_to(source).as_posix(),)
        ]
    return files, not_read


def layout(declared: InputSpec, path: Path) -> Layout:
    """How a file is written. Raises IntakeError when a column is missing or the file cannot be read."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    kind = _NATIVE_FORMATS.get(suffixes[-1] if suffixes else "", "csv")
    if kind != "csv":
        return Layout(kind, ())
    start = _start(path)
    encoding = declared.encoding or _encoding(start)
    try:
        text = codecs.getincrementaldecoder(_with_mark(encoding))(errors="replace").decode(start)
    except LookupError as error:
        raise UsageError(
            f"{path}: there is no encoding {encoding!r}; utf-8 and gb18030 are common ones."
        ) from error
    text = text.lstrip("\r\n")[:_FIRST_RECORD]
    candidates = [declared.delimiter] if declared.delimiter else list(_DELIMITERS)
    rows = (
        {d: next(csv.reader(io.StringIO(text), delimiter=d), []) for d in candidates} if text.strip() else {}
    )
    required = {name for name, column in declared.columns.items() if not column.may_be_missing}
    best, row, header = candidates[0], list[str](), list[str]()
    for delimiter, fields in rows.items():
        names = _named(declared, fields)
        if not header or len(required & set(names)) > len(required & set(header)):
            best, row, header = delimiter, fields, names
    missing = sorted(required - set(header), key=list(declared.columns).index)
    if missing and declared.names and len(missing) == len(required):
        # Nothing of the first record is a column's name, so it is data.
        fitting = [d for d, fields in rows.items() if len(fields) == len(declared.names)]
        if fitting:
            return Layout("csv", declared.names, False, fitting[0], encoding)
    if not row and declared.names:
        return Layout("csv", declared.names, False, best, encoding)
    if missing:
        listed = ", ".join(missing)
        raise IntakeError(
            f"{path} line 1: the column{'s' if len(missing) > 1 else ''} {listed} "
            f"{'are' if len(missing) > 1 else 'is'} missing. Export the file with {'them' if len(missing) > 1 else 'it'}, "
            "or name the columns of a file without a header under names in the adapter."
        )
    twice = [name for name in declared.columns if header.count(name) > 1]
    if twice:
        raise IntakeError(f"{path} line 1: the column {twice[0]} is there twice. Rename one of them.")
    folded = [name.casefold() for name in header]  # DuckDB's names do not differ by case alone
    header = [
        n if folded.index(f) == i else f"_column_{i + 1}"
        for i, (n, f) in enumerate(zip(header, folded, strict=True))
    ]
    return Layout("csv", tuple(header), True, best, encoding)


def transcoded(path: Path, encoding: str, target: Path) -> Path:
    """A UTF-8 copy of a file in another encoding, written in pieces. Raises IntakeError."""
    try:
        with _open(path) as raw, target.open("wb") as out:
            reader = codecs.getreader(_with_mark(encoding))(raw)
            while text := reader.read(_PIECE):
                out.write(text.encode())
    except UnicodeDecodeError as error:
        raise IntakeError(
            f"{path} is not {encoding} throughout. Declare its encoding in the adapter."
        ) from error
    except (OSError, EOFError) as error:
        raise unreadable(path) from error
    return target


def unreadable(path: Path) -> IntakeError:
    """The error for a file that is damaged."""
    kind = (
        "compressed file"
        if path.suffix == ".gz"
        else f"{path.suffix.lstrip('.').capitalize() or 'text'} file"
    )
    return IntakeError(f"{path} cannot be read: it is damaged or no {kind}. Export or download it again.")


def _what_to_get(spec: DatasetSpec) -> str:
    return " ".join(spec.get.split())


def _day(declared: InputSpec, path: Path) -> dt.date | None:
    rule = declared.arrived_on
    if rule is None or rule.file is None:
        return None
    found = re.search(rule.file, path.name)
    try:
        return dt.datetime.strptime(found.group(1), rule.format).date() if found else _no_day(path)
    except ValueError:
        return _no_day(path)


def _no_day(path: Path) -> dt.date:
    raise IntakeError(
        f"{path}: the file's name holds no day as arrived_on in the adapter expects it. Rename the file."
    )


def _known(path: Path, remembered: KnownFile | None) -> KnownFile:
    try:
        status = path.stat()
        if remembered and (remembered.size, remembered.modified_ns) == (status.st_size, status.st_mtime_ns):
            return remembered
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise IntakeError(f"{path} cannot be read: {error.strerror}.") from error
    return KnownFile(size=status.st_size, modified_ns=status.st_mtime_ns, sha256=digest)


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _start(path: Path) -> bytes:
    try:
        with _open(path) as handle:
            return handle.read(_SNIFFED_BYTES)
    except (OSError, EOFError) as error:
        raise unreadable(path) from error


def _encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for encoding in ("utf-8", "gb18030"):
        try:
            codecs.getincrementaldecoder(encoding)().decode(start)
        except UnicodeDecodeError:
            continue
        return encoding
    return "utf-8"  # single broken records are reported by the reader


def _with_mark(encoding: str) -> str:
    """The codec that also swallows a byte order mark."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def _named(declared: InputSpec, fields: list[str]) -> list[str]:
    """Header fields as the adapter's column names where they are the same but for case, spaces and dashes."""
    wanted = {_plain(name): name for name in declared.columns}
    return [
        wanted.get(_plain(field), field.strip() or f"_column_{index}")
        for index, field in enumerate(fields, 1)
    ]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()
