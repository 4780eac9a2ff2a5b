"""Bytes of CSV and JSON-lines files cut into records, with record numbers and physical lines.

What a CSV record is: fields parted by the delimiter; a field may be quoted with `"`, a quote inside it is
doubled, and it may span lines; a quote inside a field that is not quoted is a plain character. A record ends at
a line end outside quotes. Lines without a character are no records. After a record that breaks these rules,
reading goes on at the next line; a quote that is never closed costs its own line only.

Files are cut in blocks. A block in which all quotes are regular is handled by vectorised scans; only around
an irregular quote or a stray carriage return are records walked one by one, with Python's csv module.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from orchestration.errors import JingxiError

BLOCK_BYTES = 8 << 20
MAX_RECORD_BYTES = 16 << 20
_WALK_BYTES = 256 << 10
_QUOTE, _NEWLINE, _RETURN = ord('"'), ord("\n"), ord("\r")

# Codes of records that cannot be read, as they appear in `rejected`.
TOO_MANY_FIELDS = "too_many_fields"
TOO_FEW_FIELDS = "too_few_fields"
UNTERMINATED_QUOTE = "unterminated_quote"
TEXT_AFTER_QUOTE = "text_after_quote"
STRAY_RETURN = "stray_carriage_return"
NUL_BYTE = "nul_byte"
INVALID_ENCODING = "invalid_encoding"

_Integers = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


class UnreadableFileError(Exception):
    """A file cannot be read at all; the message goes on after the file's name."""


@dataclass
class BadRecords:
    """Records that cannot be read: number, physical line, code and text of each."""

    numbers: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@dataclass
class Span:
    """Consecutive records of a file: `values` holds one row per readable record."""

    values: Any  # pyarrow.Table
    numbers: _Integers
    lines: _Integers
    bad: BadRecords

    @property
    def records(self) -> int:
        """Records in this span, readable or not."""
        return len(self.numbers) + len(self.bad.numbers)


@dataclass
class _Cut:
    """Where records begin and end in a block, their fields, and why they cannot be read (empty = they can)."""

    starts: _Integers
    ends: _Integers  # after the line end
    fields: _Integers
    codes: list[str] | None = None


class CsvSplitter:
    """Cuts one CSV file into spans.

    `width` is the number of fields of a record; `first_line` the physical line after the header;
    `on_invalid` is called once when bytes are no UTF-8 and may raise to start again with another encoding.
    """

    def __init__(
        self, width: int, delimiter: str, first_line: int, on_invalid: Callable[[], None] | None = None
    ) -> None:
        self.records = 0  # counted from line ends and quotes, before anything is parsed
        self._width = width
        self._delimiter = delimiter
        self._line = first_line
        self._on_invalid = on_invalid
        self._names = [f"c{index}" for index in range(width)]
        self._parsed_all = True
        self._convert = pa_csv.ConvertOptions(
            check_utf8=False,
            column_types={name: pa.string() for name in self._names},
            strings_can_be_null=False,
        )

    def spans(self, blocks: Iterable[bytes]) -> Iterator[Span]:
        """The file's records in order. `blocks` are its bytes after the header, in UTF-8."""
        rest = b""
        for block in blocks:
            rest = yield from self._complete(rest + block, at_end=False)
        if rest:
            if not rest.endswith(b"\n"):
                rest += b"\n"
            yield from self._complete(rest, at_end=True)

    def _complete(self, data: bytes, *, at_end: bool) -> Generator[Span, None, bytes]:
        """Spans of the records that end in `data`; returns what is left (Python returns it to `yield from`)."""
        position = 0
        while position < len(data):
            end, irregular = self._regular_end(data, position)
            if end > position:
                yield from self._regular(data[position:end])
                position = end
            pending = len(data) - position
            if pending and (irregular or at_end or pending > MAX_RECORD_BYTES):
                walked = yield from self._walk(data, position, at_end=at_end)
                if walked == position:
                    break
                position = walked
            else:
                break
        return data[position:]

    def _regular_end(self, data: bytes, position: int) -> tuple[int, bool]:
        """End of the last complete record before an irregular quote or return, and whether there is one."""
        has_stray = data.count(b"\r", position) != data.count(b"\r\n", position)
        if not has_stray and data.find(b'"', position) < 0:
            return data.rfind(b"\n", position) + 1 or position, False
        view = np.frombuffer(data, dtype=np.uint8)[position:]
        quotes = np.flatnonzero(view == _QUOTE)
        before = np.where(quotes > 0, view[quotes - 1], _NEWLINE)
        after = np.where(quotes < len(view) - 1, view[np.minimum(quotes + 1, len(view) - 1)], _NEWLINE)
        delimiter = ord(self._delimiter)
        opening = np.arange(len(quotes)) % 2 == 0
        # An opening quote right after a closing one is the second half of a doubled quote.
        doubled = (before == _QUOTE) & (np.arange(len(quotes)) > 0)
        regular = np.where(
            opening,
            (before == delimiter) | (before == _NEWLINE) | doubled,
            (after == delimiter) | (after == _NEWLINE) | (after == _RETURN) | (after == _QUOTE),
        )
        irregular = quotes[~regular]
        if has_stray:
            returns = np.flatnonzero(view[:-1] == _RETURN)
            returns = returns[view[returns + 1] != _NEWLINE]
            irregular = np.concatenate([irregular, returns[np.searchsorted(quotes, returns) % 2 == 0]])
        limit = int(irregular.min()) if len(irregular) else len(view)
        newlines = np.flatnonzero(view[:limit] == _NEWLINE)
        outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        return (position + int(outside[-1]) + 1 if len(outside) else position), bool(len(irregular))

    def _regular(self, data: bytes) -> Iterator[Span]:
        """Records of a block in which all quotes are regular."""
        valid = _is_utf8(data)
        if not valid and self._on_invalid is not None:
            self._on_invalid()
        has_blank = data[:1] in (b"\n", b"\r") or b"\n\n" in data or b"\n\r\n" in data
        if valid and not has_blank and b"\0" not in data and b'"' not in data:
            records = data.count(b"\n")
            values = self._parse(data, quoted=False)
            if values is not None and len(values) == records:
                first = self.records + 1
                numbers = np.arange(first, first + records, dtype=np.int64)
                lines = np.arange(self._line, self._line + records, dtype=np.int64)
                self.records += records
                self._line += records
                yield Span(values, numbers, lines, BadRecords())
                return
        yield self._span(data, self._cut(data), valid=valid)

    def _cut(self, data: bytes) -> _Cut:
        view = np.frombuffer(data, dtype=np.uint8)
        ends = np.flatnonzero(view == _NEWLINE)
        delimiters = np.flatnonzero(view == ord(self._delimiter))
        if b'"' in data:
            quotes = np.flatnonzero(view == _QUOTE)
            ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
            delimiters = delimiters[np.searchsorted(quotes, delimiters) % 2 == 0]
        ends = ends + 1
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
        fields = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts) + 1
        length = ends - starts
        blank = (length == 1) | ((length == 2) & (view[starts] == _RETURN))
        return _Cut(starts[~blank], ends[~blank], fields[~blank])

    def _span(self, data: bytes, cut: _Cut, *, valid: bool) -> Span:
        """The span of a block whose records are known."""
        count = len(cut.starts)
        codes = np.array(cut.codes if cut.codes is not None else [""] * count, dtype=object)
        codes[(codes == "") & (cut.fields > self._width)] = TOO_MANY_FIELDS
        codes[(codes == "") & (cut.fields < self._width)] = TOO_FEW_FIELDS
        for nul in _positions(data, b"\0"):
            codes[int(np.searchsorted(cut.ends, nul, side="right"))] = NUL_BYTE
        if not valid:
            for broken in _invalid_records(data, cut.starts, cut.ends):
                codes[broken] = INVALID_ENCODING
        newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE)
        lines = self._line + np.searchsorted(newlines, cut.starts)
        numbers = np.arange(self.records + 1, self.records + 1 + count, dtype=np.int64)
        self.records += count
        self._line += len(newlines)
        is_bad = codes != ""
        bad = BadRecords()
        for index in np.flatnonzero(is_bad):
            bad.numbers.append(int(numbers[index]))
            bad.lines.append(int(lines[index]))
            bad.codes.append(str(codes[index]))
            text = data[cut.starts[index] : cut.ends[index]].rstrip(b"\r\n")
            bad.texts.append(text.decode("utf-8", "backslashreplace"))
        readable = _join(data, cut, ~is_bad)
        values = self._parse(readable, quoted=True)
        if values is None or len(values) != count - len(bad.numbers):
            raise JingxiError(
                f"Records {int(numbers[0])} to {int(numbers[-1])} do not add up: {count} were counted, "
                f"{0 if values is None else len(values)} read, {len(bad.numbers)} refused. Please report this."
            )
        return Span(values, numbers[~is_bad], lines[~is_bad], bad)

    def _parse(self, data: bytes, *, quoted: bool) -> Any:
        """A table of text columns, None when a record has another number of fields."""
        if not data:
            return pa.table({name: pa.array([], pa.string()) for name in self._names})
        irregular: list[int] = []

        def on_irregular(row: Any) -> str:
            irregular.append(row.actual_columns)
            return "skip"

        values = pa_csv.read_csv(
            pa.py_buffer(data),
            read_options=pa_csv.ReadOptions(
                column_names=self._names, use_threads=False, block_size=len(data) + 1
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=self._delimiter, newlines_in_values=quoted, invalid_row_handler=on_irregular
            ),
            convert_options=self._convert,
        )
        return None if irregular else values

    def _walk(self, data: bytes, position: int, *, at_end: bool) -> Generator[Span, None, int]:
        """Walk records from `position` with the csv module, some way; returns where it stopped.

        Stops without progress when the first record does not end in `data` and more may come.
        """
        size = _WALK_BYTES
        while True:
            end = data.find(b"\n", min(position + size, len(data) - 1)) + 1 or len(data)
            last = end == len(data)
            if last and not at_end:
                end = data.rfind(b"\n", position) + 1 or position
            block = data[position:end]
            cut, stopped = _walk_lines(block, self._delimiter, at_end=last and at_end)
            if not stopped and block and last and len(data) - position > MAX_RECORD_BYTES:
                stopped = block.index(b"\n") + 1
                one = np.ones(1, dtype=np.int64)
                cut = _Cut(one * 0, one * stopped, one * 0, [UNTERMINATED_QUOTE])
            if stopped or last:
                break
            size *= 4
        if not stopped:
            if len(data) - position > MAX_RECORD_BYTES:
                raise UnreadableFileError(
                    f"has a line longer than {MAX_RECORD_BYTES >> 20} MB after line {self._line}; it may be no CSV file"
                )
            return position
        block = block[:stopped]
        valid = _is_utf8(block)
        if not valid and self._on_invalid is not None:
            self._on_invalid()
        yield self._span(block, cut, valid=valid)
        return position + stopped


def _walk_lines(data: bytes, delimiter: str, *, at_end: bool) -> tuple[_Cut, int]:
    """Records of `data` by the csv module, and how many bytes they take.

    A record that does not end in `data` is left out; at the end of the file it costs its first line.
    """
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    offsets = np.concatenate([[0], np.cumsum([len(line) + 1 for line in lines])]).astype(np.int64)
    texts = [line.decode("utf-8", "surrogateescape") + "\n" for line in lines]
    found: list[tuple[int, int, int, str]] = []
    limit = csv.field_size_limit(max(len(data), MAX_RECORD_BYTES))
    try:
        start = 0
        while start < len(lines):
            reader = csv.reader(iter(texts[start:] if start else texts), delimiter=delimiter, strict=True)
            base = start
            try:
                for row in reader:
                    if row:
                        found.append((start, base + reader.line_num, len(row), ""))
                    start = base + reader.line_num
            except csv.Error as error:
                stop = base + reader.line_num
                if "unexpected end" in str(error):
                    if not at_end:
                        break
                    found.append((start, start + 1, 0, UNTERMINATED_QUOTE))
                    start += 1
                else:
                    code = STRAY_RETURN if "new-line" in str(error) else TEXT_AFTER_QUOTE
                    found.append((start, stop, 0, code))
                    start = stop
    finally:
        csv.field_size_limit(limit)
    table = np.array([(first, last, fields) for first, last, fields, _ in found], dtype=np.int64).reshape(
        -1, 3
    )
    cut = _Cut(offsets[table[:, 0]], offsets[table[:, 1]], table[:, 2], [code for *_, code in found])
    return cut, int(offsets[start])


def line_spans(
    blocks: Iterable[bytes], first_line: int = 1, on_invalid: Callable[[], None] | None = None
) -> Iterator[Span]:
    """Lines of a file as records, in one column `text`; lines without a character are no records."""
    rest, line, record = b"", first_line, 1

    def cut(data: bytes) -> Span:
        nonlocal line, record
        view = np.frombuffer(data, dtype=np.uint8)
        ends = np.flatnonzero(view == _NEWLINE).astype(np.int64) + 1
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
        length = ends - starts
        keep = ~((length == 1) | ((length == 2) & (view[starts] == _RETURN)))
        numbers = record + np.cumsum(keep) - 1
        lines = np.arange(line, line + len(ends), dtype=np.int64)
        line += len(ends)
        record += int(keep.sum())
        bad = BadRecords()
        broken = {
            int(np.searchsorted(ends, position, side="right")): NUL_BYTE
            for position in _positions(data, b"\0")
        }
        if not _is_utf8(data):
            if on_invalid is not None:
                on_invalid()
            broken |= dict.fromkeys(_invalid_records(data, starts, ends), INVALID_ENCODING)
        for index, code in sorted(broken.items()):
            keep[index] = False
            bad.numbers.append(int(numbers[index]))
            bad.lines.append(int(lines[index]))
            bad.codes.append(code)
            bad.texts.append(
                data[starts[index] : ends[index]].rstrip(b"\r\n").decode("utf-8", "backslashreplace")
            )
        offsets = np.concatenate([starts, ends[-1:]]).astype(np.int32)
        texts = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
        if not keep.all():
            texts = texts.take(pa.array(np.flatnonzero(keep)))
        return Span(pa.table({"text": texts}), numbers[keep], lines[keep], bad)

    for block in blocks:
        data = rest + block
        end = data.rfind(b"\n") + 1
        if end:
            yield cut(data[:end])
        rest = data[end:]
        if len(rest) > MAX_RECORD_BYTES:
            raise UnreadableFileError(
                f"has a line longer than {MAX_RECORD_BYTES >> 20} MB after line {line - 1}; it may be no JSON lines file"
            )
    if rest:
        yield cut(rest + b"\n")


def _join(data: bytes, cut: _Cut, keep: _Flags) -> bytes:
    """Bytes of the kept records, one after the other."""
    if keep.all() and len(keep) and cut.starts[0] == 0 and (cut.starts[1:] == cut.ends[:-1]).all():
        return data[: cut.ends[-1]]
    kept_starts, kept_ends = cut.starts[keep], cut.ends[keep]
    if not len(kept_starts):
        return b""
    gap = np.flatnonzero(kept_starts[1:] != kept_ends[:-1])
    first = np.concatenate([kept_starts[:1], kept_starts[gap + 1]])
    last = np.concatenate([kept_ends[gap], kept_ends[-1:]])
    return b"".join(data[start:end] for start, end in zip(first, last, strict=True))


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        codecs.utf_8_decode(data, "strict", True)
    except UnicodeDecodeError:
        return False
    return True


def _positions(data: bytes, byte: bytes) -> Iterable[int]:
    if byte not in data:
        return ()
    return [int(position) for position in np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == byte[0])]


def _invalid_records(data: bytes, starts: _Integers, ends: _Integers) -> list[int]:
    """Indexes of the records that hold bytes which are no UTF-8."""
    found: list[int] = []
    position = 0
    view = memoryview(data)
    while position < len(data):
        try:
            codecs.utf_8_decode(view[position:], "strict", True)
            break
        except UnicodeDecodeError as error:
            index = int(np.searchsorted(ends, position + error.start, side="right"))
            if index >= len(ends):
                break
            if starts[index] <= position + error.start:
                found.append(index)
            position = int(ends[index])
    return found
