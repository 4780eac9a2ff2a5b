"""Cells for people against a plain reading of the rule, on arbitrary texts."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from orchestration.writing.cells import sql_human_csv_text, starts_like_formula
from orchestration.writing.xlsx import sql_xml_text

SESSION = duckdb.connect(":memory:")
PIECES = st.sampled_from(
    [*"=+-@\t\r\n＝＋－＠'\"|0123456789 ,a", "\u0301", "０", "人", "\ufeff", "\u200b", "=cmd|' /C calc'!A0"]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=16).map("".join),
    st.text(alphabet="0123456789", max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)


def reference(text: str) -> str | None:
    """The rule, character by character."""
    if text == "":
        return None
    if text[0] in "=+-@\t\r\n＝＋－＠":
        return "'" + text
    if re.fullmatch("[0-9]+", text) and (len(text) > 11 or (text[0] == "0" and len(text) > 1)):
        return "\t" + text
    return text


def human(texts: list[str]) -> list[str | None]:
    rows = SESSION.execute(
        f"select {sql_human_csv_text('cell')} from (select unnest(cast(? as varchar[])) as cell)", [texts]
    ).fetchall()
    return [row[0] for row in rows]


@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_cells_follow_the_rule(texts: list[str]) -> None:
    assert human(texts) == [reference(text) for text in texts]


@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_no_cell_starts_like_a_formula(texts: list[str]) -> None:
    for cell in human(texts):
        assert cell is None or not starts_like_formula(cell) or re.fullmatch("\t[0-9]+", cell)


@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_the_text_can_be_read_back(texts: list[str]) -> None:
    for cell, text in zip(human(texts), texts, strict=True):
        marked = cell is not None and cell != text
        assert (cell[1:] if marked and cell else cell or "") == text


def test_the_engine_quotes_every_cell_that_needs_it(tmp_path: Path) -> None:
    texts = [
        "a,b",
        'a"b',
        "a\nb",
        "a\rb",
        "a\r\nb",
        " a ",
        "'",
        '"',
        "\r",
        "\n",
        "\t",
        ",",
        "ä人🙂",
        "#a",
        ";",
    ]
    file = tmp_path / "x.csv"
    SESSION.execute(
        "create or replace temp table cells as select unnest(cast(? as varchar[])) as cell", [texts]
    )
    SESSION.execute(
        f"copy (select {sql_human_csv_text('cell')}, 1 from cells) to '{file}' "
        "(format csv, header false, delimiter ',', quote '\"', escape '\"', nullstr '', new_line '\\r\\n')"
    )
    read = list(csv.reader(io.StringIO(file.read_bytes().decode(), newline="")))
    assert [row[0] for row in read] == [reference(text) for text in texts]
    assert {row[1] for row in read} == {"1"}


def unescaped(text: str) -> str:
    """What a spreadsheet reads: `_xHHHH_` stands for a character."""
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), text)


@given(
    st.lists(st.one_of(TEXTS, st.text("_x0419AF<>&\"' \t\n\r\x00\x0b\x1f\ufffe", max_size=24)), min_size=1)
)
def test_text_in_a_workbook_reads_back(texts: list[str]) -> None:
    rows = SESSION.execute(
        f"select {sql_xml_text('cell')} from (select unnest(cast(? as varchar[])) as cell)", [texts]
    ).fetchall()
    read = [ElementTree.fromstring(f"<t>{row[0]}</t>").text or "" for row in rows]
    assert [unescaped(text) for text in read] == texts
