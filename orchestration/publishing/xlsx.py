"""A workbook that a marketer can open: typed cells, a frozen header, a sheet that says what this is.

Text cells stay text however they begin: they are stored as text, formatted as text, and those that start like a
formula also carry the apostrophe in the way the format stores it (quote prefix), so that editing the cell keeps it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unicodedata import east_asian_width

import xlsxwriter

from orchestration.publishing.cells import starts_like_formula

CellKind = Literal["text", "integer", "number", "rate", "date", "timestamp", "boolean"]

ROWS_PER_SHEET = 1_048_575
"""Rows of a sheet below its header."""

MAX_TEXT_CHARACTERS = 32_767
"""Longer cells do not fit into the format."""

LARGEST_EXACT_INTEGER = 10**15
"""Numbers are stored as doubles and shown with 15 digits; larger ones are written as text."""

FIRST_YEAR = 1900
"""The format knows no earlier dates; they are written as text."""

_FORMATS: dict[CellKind, str] = {
    "text": "@",
    "integer": "0",
    "number": "#,##0.00",
    "rate": "0.0%",
    "date": "yyyy-mm-dd",
    "timestamp": "yyyy-mm-dd hh:mm",
    "boolean": '"TRUE";"TRUE";"FALSE"',
}
_HEADER = {"bold": True, "bg_color": "#E8EEF7", "bottom": 1, "valign": "vcenter", "num_format": "@"}
_RIGHT = {"align": "right", "indent": 1}
_TITLE_CHARACTERS = 31
_ABOUT_CHARACTERS = 90
_LINE_POINTS = 15


@dataclass(frozen=True)
class SheetColumn:
    """A column of the list; `width` in characters."""

    header: str
    kind: CellKind
    width: int


@dataclass(frozen=True)
class XlsxResult:
    """What was written. `shortened_cells` counts texts that did not fit into a cell."""

    rows: int
    sheets: int
    shortened_cells: int


def display_width(text: str) -> int:
    """Width in narrow characters; Chinese and other wide ones count twice."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def write_xlsx(
    file: Path,
    *,
    sheet_name: str,
    columns: Sequence[SheetColumn],
    batches: Iterable[Sequence[Sequence[Any]]],
    about_name: str,
    about: Sequence[tuple[str, str]],
    created: dt.datetime,
    temp_folder: Path,
    rows_per_sheet: int = ROWS_PER_SHEET,
) -> XlsxResult:
    """Write `batches` of rows to `file`; beyond `rows_per_sheet` a further sheet follows.

    The same arguments give the same bytes. Memory stays bounded: finished rows go to `temp_folder`.
    Raises OSError when a file cannot be written.
    """
    workbook = xlsxwriter.Workbook(
        str(file), {"constant_memory": True, "tmpdir": str(temp_folder), "in_memory": False}
    )
    try:
        workbook.set_properties({"title": sheet_name, "created": created})
        writer = _ListWriter(workbook, sheet_name, columns, rows_per_sheet)
        for batch in batches:
            writer.write(batch)
        result = writer.finish()
        _write_about(workbook, about_name, about)
    except BaseException:
        workbook.fileclosed = True  # The half-filled workbook must not be written when it is collected.
        raise
    try:
        workbook.close()
    except xlsxwriter.exceptions.FileCreateError as error:
        raise OSError(str(error)) from error
    return result


class _ListWriter:
    """Writes rows one below the other and opens the next sheet when one is full."""

    def __init__(
        self, workbook: Any, sheet_name: str, columns: Sequence[SheetColumn], rows_per_sheet: int
    ) -> None:
        self._workbook = workbook
        self._name = sheet_name
        self._columns = columns
        self._limit = rows_per_sheet
        self._headers = [workbook.add_format(_HEADER | _alignment(column.kind)) for column in columns]
        self._formats = [
            workbook.add_format({"num_format": _FORMATS[column.kind], **_alignment(column.kind)})
            for column in columns
        ]
        self._text = workbook.add_format({"num_format": "@"})
        self._quoted = workbook.add_format({"num_format": "@", "quote_prefix": True})
        self._sheet: Any = None
        self._sheets = 0
        self._row = 0
        self._rows = 0
        self._shortened = 0
        self._open_sheet()

    def write(self, batch: Sequence[Sequence[Any]]) -> None:
        for row in batch:
            if self._row > self._limit:
                self._close_sheet()
                self._open_sheet()
            number = self._row
            for column, value in enumerate(row):
                if value is not None:
                    self._writers[column](number, column, value)
            self._row += 1
            self._rows += 1

    def finish(self) -> XlsxResult:
        self._close_sheet()
        return XlsxResult(self._rows, self._sheets, self._shortened)

    def _open_sheet(self) -> None:
        self._sheets += 1
        title = self._name if self._sheets == 1 else f"{self._name} {self._sheets}"
        sheet = self._workbook.add_worksheet(title[:_TITLE_CHARACTERS])
        sheet.freeze_panes(1, 0)
        sheet.set_row(0, 20)
        _print_on_wide_pages(sheet)
        sheet.repeat_rows(0)
        for position, column in enumerate(self._columns):
            sheet.set_column(position, position, column.width)
            sheet.write_string(0, position, column.header, self._headers[position])
        self._sheet = sheet
        self._row = 1
        self._writers = [
            self._writer(column, cell_format)
            for column, cell_format in zip(self._columns, self._formats, strict=True)
        ]

    def _close_sheet(self) -> None:
        last_row, last_column = self._row - 1, len(self._columns) - 1
        self._sheet.autofilter(0, 0, last_row, last_column)
        area = f"A1:{xlsxwriter.utility.xl_rowcol_to_cell(max(last_row, 1), last_column)}"
        self._sheet.ignore_errors({"number_stored_as_text": area})

    def _writer(self, column: SheetColumn, cell_format: Any) -> Callable[[int, int, Any], None]:
        sheet = self._sheet

        def text(row: int, position: int, value: Any) -> None:
            own = value if isinstance(value, str) else str(value)
            if len(own) > MAX_TEXT_CHARACTERS:
                own = own[:MAX_TEXT_CHARACTERS]
                self._shortened += 1
            sheet.write_string(row, position, own, self._quoted if starts_like_formula(own) else self._text)

        def number(row: int, position: int, value: Any) -> None:
            if abs(value) >= LARGEST_EXACT_INTEGER and value == int(value):
                sheet.write_string(row, position, f"{int(value)}", self._text)
            else:
                sheet.write_number(row, position, float(value), cell_format)

        def moment(row: int, position: int, value: Any) -> None:
            if value.year < FIRST_YEAR:
                sheet.write_string(row, position, value.isoformat(), self._text)
            else:
                sheet.write_datetime(row, position, value, cell_format)

        def boolean(row: int, position: int, value: Any) -> None:
            sheet.write_boolean(row, position, value, cell_format)

        writers = {"text": text, "date": moment, "timestamp": moment, "boolean": boolean}
        return writers.get(column.kind, number)


def _alignment(kind: CellKind) -> dict[str, Any]:
    """Numbers and dates stand right with a gap, so that they do not touch the text in the next column."""
    return {} if kind in ("text", "boolean") else _RIGHT


def _write_about(workbook: Any, about_name: str, about: Sequence[tuple[str, str]]) -> None:
    sheet = workbook.add_worksheet(about_name[:_TITLE_CHARACTERS])
    bold = workbook.add_format({"bold": True, "valign": "top", "num_format": "@"})
    wrapped = workbook.add_format({"text_wrap": True, "valign": "top", "num_format": "@"})
    _print_on_wide_pages(sheet)
    sheet.set_column(0, 0, 28)
    sheet.set_column(1, 1, _ABOUT_CHARACTERS)
    for row, (label, value) in enumerate(about):
        # Not every program fits the height of a row to wrapped text by itself.
        lines = sum(1 + display_width(line) // _ABOUT_CHARACTERS for line in value.split("\n"))
        sheet.set_row(row, min(_LINE_POINTS * lines, 400))
        sheet.write_string(row, 0, label, bold)
        sheet.write_string(row, 1, value[:MAX_TEXT_CHARACTERS], wrapped)


def _print_on_wide_pages(sheet: Any) -> None:
    """Landscape A4, all columns on one page."""
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
