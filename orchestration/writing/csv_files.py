"""CSV files in two profiles: for people (a spreadsheet opens them) and for machines (raw values)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from orchestration.writing import cells

BOM = b"\xef\xbb\xbf"
HUMAN_RULES = (
    "a text that starts with = + - @, tab, CR, LF or a full-width form gets a leading apostrophe",
    f"a digit string longer than {cells.LONGEST_SAFE_DIGITS} or with a leading zero gets a leading tab",
)
"""What the human profile does to cells, as manifests tell it."""


def human_header(headers: Sequence[str]) -> bytes:
    """The first line of a file for people: byte order mark, no header that could run as a formula, CRLF."""
    shown = ["'" + own if cells.starts_like_formula(own) else own for own in headers]
    return BOM + ",".join(_cell(own) for own in shown).encode() + b"\r\n"


def machine_header(names: Sequence[str]) -> bytes:
    """The first line of a file for machines."""
    return ",".join(_cell(own) for own in names).encode() + b"\n"


def write_rows(
    part: Path,
    *,
    session: duckdb.DuckDBPyConnection,
    rows: str,
    expressions: Sequence[str],
    header: bytes,
    newline: str,
    body: Path,
) -> None:
    r"""Write the table `rows`, ordered by its column `position`, to the new file `part` (mode 0600).

    The engine writes the rows to the temporary file `body`; the header goes in front of them as bytes. `newline` is as
    DuckDB's COPY wants it (`\n` or `\r\n`, escaped). Raises OSError and duckdb.Error.
    """
    if len(expressions) == 1:  # An empty cell alone on its line would read as no record.
        expressions = [f"coalesce(cast({expressions[0]} as varchar), '')"]
    place = "'" + str(body).replace("'", "''") + "'"
    session.execute(
        f"copy (select {', '.join(expressions)} from {rows} order by position) to {place} "
        f"(format csv, header false, delimiter ',', quote '\"', escape '\"', nullstr '', new_line '{newline}')"
    )
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as target, body.open("rb") as source:
        target.write(header)
        while chunk := source.read(1 << 20):
            target.write(chunk)
    body.unlink()


def _cell(text: str) -> str:
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
