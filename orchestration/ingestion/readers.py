"""Readers: one landing file as a relation that DuckDB streams, whatever its format and encoding.

Every reader yields the same columns: `r_<column>` for each column of the contract that the file has, `_extra`
(columns that the contract does not know, as JSON), `_record`, `_line`, `_code` (why a record cannot be read),
`_original` (the record as JSON text).
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import duckdb
import pyarrow as pa

from orchestration.ingestion.contracts import Table
from orchestration.ingestion.conversion import literal, name
from orchestration.ingestion.landing import Format, LandingFile
from orchestration.ingestion.records import (
    BLOCK_BYTES,
    BadRecords,
    CsvSplitter,
    Span,
    UnreadableFileError,
    line_spans,
)

STREAM = "intake_stream"
_BATCH_ROWS = 32_768
_DELIMITERS = (",", ";", "\t")
_LINES_LOOKED_AT = 2_000


@dataclass(frozen=True)
class Layout:
    """What a file holds: DuckDB type of each column that the contract knows, and the names of the others."""

    columns: dict[str, str]
    extra: tuple[str, ...]


class Reader(Protocol):
    """One file, readable any number of times."""

    layout: Layout

    def relation(self, *, whole: bool) -> str:
        """A query over the file's records: the readable ones, or with `whole` all, with line and code."""

    def records(self) -> int:
        """Records of the file, counted without converting them; known after the relation was read."""


def open_file(connection: duckdb.DuckDBPyConnection, file: LandingFile) -> Reader:
    """The reader of a file. Raises UnreadableFileError."""
    if file.problem:
        raise UnreadableFileError(file.problem)
    match file.format:
        case Format.CSV:
            return _CsvReader(connection, file)
        case Format.JSON_LINES:
            return _JsonReader(connection, file)
        case _:
            return _ParquetReader(connection, file)


class _WrongEncodingError(Exception):
    """The file is GB18030, not UTF-8."""


def run(
    connection: duckdb.DuckDBPyConnection, reader: Reader, query: Callable[[], str]
) -> list[tuple[Any, ...]]:
    """Run a query over a reader's relation. Raises UnreadableFileError for what is wrong with the file."""
    while True:
        try:
            return connection.execute(query()).fetchall()
        except (duckdb.OutOfMemoryException, duckdb.InterruptException):
            raise
        except duckdb.Error as error:
            failure = getattr(reader, "failure", None)
            if isinstance(failure, _WrongEncodingError):
                continue
            if failure is not None:
                raise failure from None
            if isinstance(reader, _ParquetReader) and "No space left" not in str(error):
                raise UnreadableFileError("is a damaged Parquet file; deliver it again") from error
            raise


@dataclass
class _Pass:
    """One reading of a file. An engine that needs no more rows may leave a pass running beside the next one."""

    encoding: str | None
    records: int = 0
    failure: Exception | None = None


class _StreamReader:
    """What CSV and JSON lines share: bytes in either encoding, plain or gzip, streamed to DuckDB."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, file: LandingFile) -> None:
        self._connection = connection
        self._file = file
        self._encoding: str | None = None  # None until bytes are seen that are no UTF-8
        self._pass = _Pass(self._encoding)

    def records(self) -> int:
        return self._pass.records

    @property
    def failure(self) -> Exception | None:
        """What ended the latest pass before its end."""
        return self._pass.failure

    def _blocks(self, encoding: str | None) -> Iterator[bytes]:
        """The file's bytes in UTF-8 without a byte order mark."""
        first = True
        decoder = None
        if encoding == "gb18030":
            # Bytes that are no GB18030 either survive as bytes that are no UTF-8, and so end in `rejected`.
            decoder = codecs.getincrementaldecoder("gb18030")("surrogateescape")
        try:
            with _open(self._file.path, gzipped=self._file.is_gzip) as handle:
                while block := handle.read(BLOCK_BYTES):
                    if first:
                        if block.startswith((b"\xff\xfe", b"\xfe\xff")):
                            raise UnreadableFileError("is UTF-16; save it as UTF-8")
                        block = block.removeprefix(b"\xef\xbb\xbf")
                        first = False
                    if decoder is not None:
                        block = decoder.decode(block).encode("utf-8", "surrogateescape")
                    if block:
                        yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableFileError("is a broken or truncated gzip file; deliver it again") from error
        except OSError as error:
            raise UnreadableFileError(f"cannot be read: {error.strerror}") from error

    def _on_invalid(self, encoding: str | None) -> None:
        """Decide on the encoding when bytes are no UTF-8: GB18030 unless other lines show that it is UTF-8.

        `encoding` is the one that the pass began with; one that began undecided ends when it was the wrong one.
        """
        if encoding is not None:
            return
        if self._encoding is None:
            self._encoding = self._guess()
        if self._encoding == "gb18030":
            raise _WrongEncodingError

    def _guess(self) -> str:
        valid = looked_at = 0
        rest = b""
        for block in self._blocks(None):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                if not line.isascii():
                    looked_at += 1
                    try:
                        line.decode()
                        valid += 1
                    except UnicodeDecodeError:
                        pass
                    if looked_at == _LINES_LOOKED_AT:
                        break
            if looked_at == _LINES_LOOKED_AT:
                break
        if valid * 2 > looked_at:
            return "utf-8"
        # Text of this size in GB18030 is almost never valid UTF-8, so few lines decide; bytes that are neither
        # are refused record by record.
        return "gb18030"

    def _register(self, names: list[str], spans: Callable[[_Pass], Iterator[Span]], *, whole: bool) -> None:
        """Begin a pass and make its spans a stream named STREAM."""
        fields = [(column, pa.string()) for column in names]
        fields += [("_record", pa.int64())]
        if whole:
            fields += [("_line", pa.int64()), ("_code", pa.string()), ("_text", pa.string())]
        schema = pa.schema(fields)
        current = self._pass = _Pass(self._encoding)

        def batches() -> Iterator[Any]:
            try:
                for span in spans(current):
                    values = [*span.values.columns, pa.array(span.numbers)]
                    if whole:
                        nothing = pa.nulls(len(span.numbers), pa.string())
                        values += [pa.array(span.lines), nothing, nothing]
                    yield from pa.table(values, schema=schema).to_batches(max_chunksize=_BATCH_ROWS)
                    if whole and span.bad.numbers:
                        yield _bad_batch(len(names), span.bad, schema)
            except Exception as error:
                # Kept aside: the engine passes on its text only.
                current.failure = error
                raise

        self._connection.register(STREAM, pa.RecordBatchReader.from_batches(schema, batches()))


def _open(path: Path, *, gzipped: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb") if gzipped else path.open("rb"))


def _bad_batch(width: int, bad: BadRecords, schema: Any) -> Any:
    values = [pa.nulls(len(bad.numbers), pa.string()) for _ in range(width)]
    values += [
        pa.array(bad.numbers, pa.int64()),
        pa.array(bad.lines, pa.int64()),
        pa.array(bad.codes, pa.string()),
        pa.array(bad.texts, pa.string()),
    ]
    return pa.record_batch(values, schema=schema)


class _CsvReader(_StreamReader):
    def __init__(self, connection: duckdb.DuckDBPyConnection, file: LandingFile) -> None:
        super().__init__(connection, file)
        try:
            self._read_header()
        except _WrongEncodingError:
            self._read_header()

    def _read_header(self) -> None:
        head, line, self._header_lines = b"", b"", 0
        blocks = self._blocks(self._encoding)
        # Blank lines before the header count as lines and as nothing else.
        while not line.strip(b"\r\n"):
            end = head.find(b"\n")
            if end < 0:
                block = next(blocks, b"")
                if block:
                    head += block
                    if len(head) > 2 * BLOCK_BYTES:
                        raise UnreadableFileError("has no line end in its first 16 MB; it may be no CSV file")
                    continue
                line, head = head, b""
                if not line.strip(b"\r\n"):
                    raise UnreadableFileError("is empty: not even a header line")
                self._header_lines += 1
            else:
                line, head = head[:end], head[end + 1 :]
                self._header_lines += 1
        if b"\0" in line:
            raise UnreadableFileError("has NUL bytes in its header line; it may be no CSV file")
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self._on_invalid(self._encoding)
            raise UnreadableFileError("has a header line that is neither UTF-8 nor GB18030") from None
        if "\r" in text.rstrip("\r"):
            raise UnreadableFileError("ends its lines with lone carriage returns; save it with line feeds")
        self._delimiter, header = _split_header(text.rstrip("\r"), self._file.table)
        self._header = [
            column.strip() or f"column_{position}" for position, column in enumerate(header, start=1)
        ]
        self.layout, self._position = _match(self._header, self._file.table)

    def _data_blocks(self, encoding: str | None) -> Iterator[bytes]:
        """The bytes after the header."""
        left = self._header_lines
        for block in self._blocks(encoding):
            position = 0
            while left and position < len(block):
                end = block.find(b"\n", position)
                if end < 0:
                    position = len(block)
                    break
                position = end + 1
                left -= 1
            if position < len(block):
                yield block[position:]

    def _spans(self, current: _Pass) -> Iterator[Span]:
        splitter = CsvSplitter(
            len(self._header),
            self._delimiter,
            self._header_lines + 1,
            lambda: self._on_invalid(current.encoding),
        )
        yield from splitter.spans(self._data_blocks(current.encoding))
        current.records = splitter.records

    def relation(self, *, whole: bool) -> str:
        width = len(self._header)
        self._register([f"c{index}" for index in range(width)], self._spans, whole=whole)
        columns = [f"{'c' + str(index)} as {name('r_' + column)}" for column, index in self._position.items()]
        extra = {column: self._header.index(column) for column in self.layout.extra}
        columns.append(f"{_json_of(extra)} as _extra" if extra else "cast(null as varchar) as _extra")
        if not whole:
            columns.append("cast(null as varchar) as _code")
        else:
            pairs = ", ".join(f"{literal(column)}, c{index}" for index, column in enumerate(self._header))
            columns.append("_line, _code")
            columns.append(
                "cast(case when _code is null then json_object("
                f"{pairs}) else json_object('record', _text) end as varchar) as _original"
            )
        return f"select {', '.join(columns)}, _record from {STREAM}"


def _json_of(extra: dict[str, int]) -> str:
    """A JSON object of the extra columns that are not blank, null when all are."""
    pairs = ", ".join(f"{literal(column)}, nullif(c{index}, '')" for column, index in extra.items())
    filled = " or ".join(f"c{index} <> ''" for index in extra.values())
    return f"case when {filled} then cast(json_merge_patch(cast('{{}}' as json), json_object({pairs})) as varchar) end"


def _split_header(text: str, table: Table) -> tuple[str, list[str]]:
    """The delimiter under which most header names are columns of the table, and the header."""
    known = {column.name for column in table.columns}
    best: tuple[int, int] = (-1, -1)
    found: tuple[str, list[str]] = (",", [text])
    for delimiter in _DELIMITERS:
        try:
            header = next(csv.reader([text], delimiter=delimiter, strict=True))
        except csv.Error as error:
            if delimiter == _DELIMITERS[-1] and best[0] < 0:
                raise UnreadableFileError("has a header line with an open quote") from error
            continue
        score = (sum(column.strip().lower() in known for column in header), len(header))
        if score > best:
            best, found = score, (delimiter, header)
    return found


def _match(header: list[str], table: Table) -> tuple[Layout, dict[str, int]]:
    """Columns of the contract by position. Names are compared trimmed and without regard to case."""
    seen: dict[str, str] = {}
    for column in header:
        if column.lower() in seen:
            raise UnreadableFileError(f"has the column {column} twice")
        seen[column.lower()] = column
    position = {
        column.name: header.index(seen[column.name]) for column in table.columns if column.name in seen
    }
    extra = tuple(column for column in header if table.column(column.lower()) is None)
    return Layout(dict.fromkeys(position, "VARCHAR"), extra), position


class _JsonReader(_StreamReader):
    def __init__(self, connection: duckdb.DuckDBPyConnection, file: LandingFile) -> None:
        super().__init__(connection, file)
        self.layout = Layout({}, ())
        self._read_keys()

    def _spans(self, current: _Pass) -> Iterator[Span]:
        records = 0
        blocks = self._blocks(current.encoding)
        for span in line_spans(blocks, on_invalid=lambda: self._on_invalid(current.encoding)):
            records += span.records
            yield span
        current.records = records

    def _read_keys(self) -> None:
        """Which keys there are, and whether every line is an object: one more pass, cheaper than guarding."""
        for block in self._blocks(self._encoding):
            if block.lstrip()[:1] == b"[":
                raise UnreadableFileError("is one JSON array; write one object per line")
            break
        query = f"""
            with lines as (
                select text, {_IS_OBJECT.format(text="text")} as is_object from {STREAM}
            ),
            shapes as (
                select is_object, case when is_object then json_keys(text) end as keys, count(*) as lines
                from lines group by 1, 2
            )
            select is_object, key, sum(lines) from (
                select is_object, unnest(case when is_object then keys else [null] end) as key, lines from shapes
            ) group by 1, 2 order by 2 nulls first
        """

        def shapes() -> str:
            self._register(["text"], self._spans, whole=False)
            return query

        rows = run(self._connection, self, shapes)
        self._all_objects = all(row[0] for row in rows)
        table = self._file.table
        self._spelt: dict[str, list[str]] = {}
        extra: list[str] = []
        for is_object, key, _ in rows:
            if not is_object or key is None:
                continue
            column = table.column(key.strip().lower())
            if column is None:
                extra.append(key)
            else:
                self._spelt.setdefault(column.name, []).append(key)
        if rows and not any(row[0] for row in rows):
            raise UnreadableFileError("holds no line that is one JSON object")
        if not self.records():
            self._spelt = {column.name: [column.name] for column in table.columns}
        self.layout = Layout(dict.fromkeys(self._spelt, "VARCHAR"), tuple(extra))

    def relation(self, *, whole: bool) -> str:
        self._register(["text"], self._spans, whole=whole)
        first = {spelt[0]: "VARCHAR" for spelt in self._spelt.values()}
        struct = (
            f"json_transform(text, {literal(json.dumps(first, ensure_ascii=False))})" if first else "null"
        )
        if not self._all_objects:
            struct = f"case when {_IS_OBJECT.format(text='text')} then {struct} end"
        columns = []
        for column, spelt in self._spelt.items():
            values = [f"s.{name(spelt[0])}", *(f"text ->> {_path(key)}" for key in spelt[1:])]
            columns.append(f"coalesce({', '.join(values)}) as {name('r_' + column)}")
        if self.layout.extra:
            known = json.dumps(
                {key: None for keys in self._spelt.values() for key in keys}, ensure_ascii=False
            )
            patched = f"cast(json_merge_patch(cast(text as json), cast({literal(known)} as json)) as varchar)"
            guard = "s is not null" if not self._all_objects and first else "true"
            columns.append(f"case when {guard} then nullif({patched}, '{{}}') end as _extra")
        else:
            columns.append("cast(null as varchar) as _extra")
        code = (
            f"case when not ({_IS_OBJECT.format(text='text')}) then 'malformed_json' "
            r"when contains(text, '\u0000') then 'nul_byte' end"
        )
        if whole:
            code = f"case when _code is not null then _code else {code} end"
            columns.append("_line")
            columns.append(
                f"case when {code} is null then rtrim(text, chr(13) || chr(10)) "
                "else cast(json_object('record', coalesce(_text, rtrim(text, chr(13) || chr(10)))) as varchar) end "
                "as _original"
            )
        columns.append(f"{code if whole or not self._all_objects else _NUL_ONLY} as _code")
        return f"select {', '.join(columns)}, _record from (select *, {struct} as s from {STREAM})"


_IS_OBJECT = "coalesce(case when json_valid({text}) then json_type({text}) = 'OBJECT' end, false)"
_NUL_ONLY = r"case when contains(text, '\u0000') then 'nul_byte' end"


def _path(key: str) -> str:
    return literal('$."' + key.replace('"', '\\"') + '"')


class _ParquetReader:
    def __init__(self, connection: duckdb.DuckDBPyConnection, file: LandingFile) -> None:
        self._scan = (
            f"read_parquet({literal(str(file.path))}, binary_as_string = true, file_row_number = true, "
            "hive_partitioning = false)"
        )
        try:
            rows = connection.execute(f"describe select * from {self._scan}").fetchall()
            (self._records,) = connection.execute(
                f"select sum(num_rows) from parquet_file_metadata({literal(str(file.path))})"
            ).fetchone() or (0,)
        except duckdb.Error as error:
            raise UnreadableFileError(
                "is no readable Parquet file; it may be truncated: deliver it again"
            ) from error
        types = {column: kind for column, kind, *_ in rows if column != "file_row_number"}
        self._names: dict[str, str] = {}
        extra = []
        for column in types:
            known = file.table.column(column.strip().lower())
            if known is None:
                extra.append(column)
            elif known.name in self._names:
                raise UnreadableFileError(f"has the column {known.name} twice")
            else:
                self._names[known.name] = column
        self._all = list(types)
        self.layout = Layout({known: types[column] for known, column in self._names.items()}, tuple(extra))

    def records(self) -> int:
        return int(self._records)

    def relation(self, *, whole: bool) -> str:
        columns = [f"{name(column)} as {name('r_' + known)}" for known, column in self._names.items()]
        columns.append(f"{self._packed(self.layout.extra)} as _extra")
        columns.append("cast(null as bigint) as _line, cast(null as varchar) as _code")
        if whole:
            columns.append(f"{self._packed(tuple(self._all))} as _original")
        return f"select {', '.join(columns)}, file_row_number + 1 as _record from {self._scan}"

    @staticmethod
    def _packed(columns: tuple[str, ...]) -> str:
        if not columns:
            return "cast(null as varchar)"
        pairs = ", ".join(f"{literal(column)}, {name(column)}" for column in columns)
        packed = f"cast(json_merge_patch(cast('{{}}' as json), json_object({pairs})) as varchar)"
        return f"nullif({packed}, '{{}}')"
