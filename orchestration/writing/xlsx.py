"""A workbook that a marketer can open: typed cells, a frozen header, a sheet that says what this is.

xlsxwriter makes the workbook: styles, headers, sheets. The rows are written as the engine renders them, whole
columns at once (ECMA-376 part 1, 18.3.1.73 `row` and 18.3.1.4 `c`), and put into its sheets; cell by cell in
Python a million rows would take minutes.

Text cells stay text however they begin: they are stored as text, formatted as text, and those that start like a
formula also carry the apostrophe in the way the format stores it (quote prefix), so that editing the cell keeps it.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal
from unicodedata import east_asian_width

import duckdb
import xlsxwriter
from xlsxwriter.utility import xl_col_to_name, xl_rowcol_to_cell

from orchestration.writing.cells import sql_starts_like_formula

CellKind = Literal["text", "integer", "number", "rate", "date", "timestamp", "boolean"]

ROWS_PER_SHEET = 1_048_575
"""Rows of a sheet below its header."""

MAX_TEXT_CHARACTERS = 32_767
"""Longer cells do not fit into the format."""

LARGEST_EXACT_INTEGER = 10**15
"""Numbers are stored as doubles and shown with 15 digits; larger whole ones are written as text."""

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
_ROWS_AT_ONCE = 20_000
_LARGE_SHEET_BYTES = 2**31
_BYTES_PER_CELL = 200
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)

# Day 0 of serial dates. The format takes 1900 for a leap year, so days before March 1900 count one less.
_DAY_ZERO = "date '1899-12-30'"
_FIRST_DAY = "date '1900-01-01'"
_TRUE_CALENDAR = "date '1900-03-01'"

_CONTROL = [*range(0x00, 0x09), *range(0x0B, 0x20), 0xFFFE, 0xFFFF]
_CONTROL_PATTERN = r"[\x00-\x08\x0b-\x1f\x{FFFE}\x{FFFF}]"
_ESCAPE_PATTERN = "_x[0-9A-Fa-f]{4}_"


@dataclass(frozen=True)
class SheetColumn:
    """A column of the list: its header, its SQL on the rows, its kind and its width in characters."""

    header: str
    expression: str
    kind: CellKind
    width: int


@dataclass(frozen=True)
class XlsxResult:
    """What was written. `shortened_cells` counts texts that did not fit into a cell."""

    rows: int
    sheets: int
    shortened_cells: int


@dataclass(frozen=True)
class _Styles:
    """Numbers of the cell styles: one per column, plain text, text with the quote prefix."""

    columns: tuple[str, ...]
    text: str
    quoted: str


def display_width(text: str) -> int:
    """Width in narrow characters; Chinese and other wide ones count twice."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def sql_xml_text(expression: str) -> str:
    """SQL of a text inside XML.

    Characters that XML cannot hold, and texts that look like such an escape, are written as `_xHHHH_`
    (ECMA-376 part 1, 22.9.2.19 ST_Xstring). A carriage return is escaped too: XML would read it as a line feed.
    """
    underscores = (
        f"case when regexp_matches({expression}, '{_ESCAPE_PATTERN}') "
        f"then regexp_replace({expression}, '_x', '_x005F_x', 'g') else {expression} end"
    )
    marked = f"replace(replace(replace({underscores}, '&', '&amp;'), '<', '&lt;'), '>', '&gt;')"
    controls = marked
    for code in _CONTROL:
        controls = f"replace({controls}, chr({code}), '_x{code:04X}_')"
    return f"case when regexp_matches({expression}, '{_CONTROL_PATTERN}') then {controls} else {marked} end"


def write_xlsx(
    file: Path,
    *,
    session: duckdb.DuckDBPyConnection,
    rows: str,
    sheet_name: str,
    columns: Sequence[SheetColumn],
    about_name: str,
    about: Sequence[tuple[str, str]],
    created: dt.datetime,
    temp_folder: Path,
    rows_per_sheet: int = ROWS_PER_SHEET,
) -> XlsxResult:
    """Write the table `rows` of `session` to `file`.

    `rows` has a column `position` (1, 2, 3, … without a gap); beyond `rows_per_sheet` a further sheet follows.
    Timestamps and dates are written as they are, without a zone. The same arguments give the same bytes; memory
    stays bounded. Raises OSError when a file cannot be written, duckdb.Error when a row cannot be read.
    """
    counted = session.execute(f"select count(*) from {rows}").fetchone()
    count = int(counted[0]) if counted else 0
    sheets = max(1, -(-count // rows_per_sheet))
    frame = temp_folder / "frame.xlsx"
    _write_frame(
        frame, sheet_name, columns, count, sheets, rows_per_sheet, about_name, about, created, temp_folder
    )
    with (
        zipfile.ZipFile(frame) as source,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        styles = _styles(source.read("xl/worksheets/sheet1.xml").decode(), len(columns))
        for part in source.namelist():
            entry = zipfile.ZipInfo(part, _ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            sheet = re.fullmatch(r"xl/worksheets/sheet(\d+)\.xml", part)
            if sheet is None or int(sheet[1]) > sheets:
                target.writestr(entry, source.read(part))
                continue
            first = (int(sheet[1]) - 1) * rows_per_sheet
            last = min(count, first + rows_per_sheet)
            is_large = (last - first) * len(columns) * _BYTES_PER_CELL > _LARGE_SHEET_BYTES
            with target.open(entry, "w", force_zip64=is_large) as sheet_file:
                head, tail = _sheet_frame(source.read(part).decode(), last - first, len(columns))
                sheet_file.write(head.encode())
                _write_rows(sheet_file, session, rows, columns, styles, first, last)
                sheet_file.write(tail.encode())
    frame.unlink()
    return XlsxResult(count, sheets, _shortened(session, rows, columns))


def _write_frame(
    file: Path,
    sheet_name: str,
    columns: Sequence[SheetColumn],
    count: int,
    sheets: int,
    rows_per_sheet: int,
    about_name: str,
    about: Sequence[tuple[str, str]],
    created: dt.datetime,
    temp_folder: Path,
) -> None:
    """The workbook without its rows. Row 2 of the first sheet has one blank cell of each style, to be taken out."""
    workbook = xlsxwriter.Workbook(str(file), {"constant_memory": True, "tmpdir": str(temp_folder)})
    workbook.set_properties({"title": sheet_name, "created": created})
    headers = [workbook.add_format(_HEADER | _alignment(column.kind)) for column in columns]
    formats = [
        workbook.add_format({"num_format": _FORMATS[column.kind], **_alignment(column.kind)})
        for column in columns
    ]
    formats += [
        workbook.add_format({"num_format": "@"}),
        workbook.add_format({"num_format": "@", "quote_prefix": True}),
    ]
    for number in range(1, sheets + 1):
        title = sheet_name if number == 1 else f"{sheet_name} {number}"
        sheet = workbook.add_worksheet(title[:_TITLE_CHARACTERS])
        sheet.freeze_panes(1, 0)
        sheet.set_row(0, 20)
        _print_on_wide_pages(sheet)
        sheet.repeat_rows(0)
        for position, column in enumerate(columns):
            sheet.set_column(position, position, column.width)
            sheet.write_string(0, position, column.header, headers[position])
        if number == 1:
            for position, cell_format in enumerate(formats):
                sheet.write_blank(1, position, None, cell_format)
        last_row = min(count - (number - 1) * rows_per_sheet, rows_per_sheet)
        sheet.autofilter(0, 0, last_row, len(columns) - 1)
        area = f"A1:{xl_rowcol_to_cell(max(last_row, 1), len(columns) - 1)}"
        sheet.ignore_errors({"number_stored_as_text": area})
    _write_about(workbook, about_name, about)
    try:
        workbook.close()
    except xlsxwriter.exceptions.FileCreateError as error:
        raise OSError(str(error)) from error


def _styles(sheet: str, columns: int) -> _Styles:
    found = re.findall(r'<c r="[A-Z]+2" s="(\d+)"/>', sheet)
    return _Styles(tuple(found[:columns]), found[columns], found[columns + 1])


def _sheet_frame(sheet: str, rows: int, columns: int) -> tuple[str, str]:
    """The sheet's XML before and after the rows."""
    area = f'<dimension ref="A1:{xl_rowcol_to_cell(rows, columns - 1)}"/>'
    sheet = re.sub(r'<dimension ref="[^"]*"/>', area, sheet, count=1)
    sheet = re.sub(r'<row r="2".*?</row>', "", sheet, count=1, flags=re.DOTALL)
    head, end, tail = sheet.partition("</sheetData>")
    return head, end + tail


def _write_rows(
    sheet: IO[bytes],
    session: duckdb.DuckDBPyConnection,
    rows: str,
    columns: Sequence[SheetColumn],
    styles: _Styles,
    first: int,
    last: int,
) -> None:
    for chunk in _rendered(session, rows, columns, styles, first, last):
        sheet.write(chunk.encode())


def _rendered(
    session: duckdb.DuckDBPyConnection,
    rows: str,
    columns: Sequence[SheetColumn],
    styles: _Styles,
    first: int,
    last: int,
) -> Iterator[str]:
    """The XML of rows first + 1 … last in pieces; the first of them stands in row 2 of its sheet."""
    values = ", ".join(f"{column.expression} as v{position}" for position, column in enumerate(columns))
    cells = " || ".join(
        f"coalesce({_cell(column.kind, position, styles)}, '')" for position, column in enumerate(columns)
    )
    for start in range(first, last, _ROWS_AT_ONCE):
        end = min(start + _ROWS_AT_ONCE, last)
        row = session.execute(
            f"""select string_agg('<row r="' || line || '">' || {cells} || '</row>', '' order by position)
            from (
                select {values}, position, cast(position - {first} + 1 as varchar) as line
                from {rows} where position > {start} and position <= {end}
            )"""
        ).fetchone()
        yield str(row[0]) if row and row[0] is not None else ""


def _cell(kind: CellKind, position: int, styles: _Styles) -> str:
    """SQL of one cell's XML, null for an empty cell."""
    value, style = f"v{position}", styles.columns[position]
    start = f"'<c r=\"{xl_col_to_name(position)}' || line || '\" s=\"'"

    def number(serial: str) -> str:
        return f"{start} || '{style}\"><v>' || cast({serial} as varchar) || '</v></c>'"

    def text(own: str) -> str:
        cut = f"left({own}, {MAX_TEXT_CHARACTERS})"
        own_style = (
            f"case when {sql_starts_like_formula(own)} then '{styles.quoted}' else '{styles.text}' end"
        )
        return (
            f'{start} || {own_style} || \'" t="inlineStr"><is><t xml:space="preserve">\' || '
            f"{sql_xml_text(cut)} || '</t></is></c>'"
        )

    if kind == "text":
        return text(f"nullif({value}, '')")
    if kind == "boolean":
        return (
            f"{start} || '{style}\" t=\"b\"><v>' || cast(cast({value} as integer) as varchar) || '</v></c>'"
        )
    if kind in ("date", "timestamp"):
        days = f"date_diff('day', {_DAY_ZERO}, cast({value} as date))"
        days += f" - case when {value} < {_TRUE_CALENDAR} then 1 else 0 end"
        if kind == "timestamp":
            midnight = f"epoch_us(cast(cast({value} as date) as timestamp))"
            days = f"({days}) + cast(epoch_us({value}) - {midnight} as double) / 86400000000"
        return (
            f"case when isfinite({value}) and {value} >= {_FIRST_DAY} then {number(days)} "
            f"else {text(f'cast({value} as varchar)')} end"
        )
    whole = f"try_cast({value} as hugeint)"
    return (
        f"case when abs({value}) >= {LARGEST_EXACT_INTEGER} and {whole} = {value} "
        f"then {text(f'cast({whole} as varchar)')} else {number(value)} end"
    )


def _shortened(session: duckdb.DuckDBPyConnection, rows: str, columns: Sequence[SheetColumn]) -> int:
    counts = [
        f"count(*) filter (where length({column.expression}) > {MAX_TEXT_CHARACTERS})"
        for column in columns
        if column.kind == "text"
    ]
    row = session.execute(f"select {' + '.join(counts)} from {rows}").fetchone() if counts else None
    return int(row[0]) if row else 0


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
