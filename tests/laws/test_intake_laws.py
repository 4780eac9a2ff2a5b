from __future__ import annotations

import csv
import datetime as dt
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.ingestion import records
from orchestration.ingestion.records import CsvSplitter
from tests.unit.intake_support import Place

COLUMNS = ["order_id", "ordered_at", "amount", "note"]
HEADER = ",".join(COLUMNS)


@dataclass
class Expected:
    """One record as Python's csv module sees it."""

    line: int
    values: list[str] | None


def reference(text: str, delimiter: str = ",") -> list[Expected]:
    """Records of a CSV body by Python's csv module, strict; after an error reading goes on at the next line.

    A quote that is never closed costs its first line.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    found: list[Expected] = []
    start = 0
    while start < len(lines):
        reader = csv.reader((line + "\n" for line in lines[start:]), delimiter=delimiter, strict=True)
        try:
            row = next(reader)
        except csv.Error as error:
            found.append(Expected(start + 1, None))
            start += 1 if "unexpected end" in str(error) else reader.line_num
            continue
        if row:
            found.append(Expected(start + 1, row))
        start += reader.line_num
    return found


def is_good(record: Expected, width: int) -> bool:
    values = record.values
    return values is not None and len(values) == width and not any("\0" in value for value in values)


fields = st.text(alphabet='ab,;"\n\r 好\t', max_size=6)
written = st.builds(lambda values: _written(values), st.lists(fields, min_size=0, max_size=5))
noise = st.text(alphabet='ab,"\n\r\0好', max_size=12)
bodies = st.lists(st.one_of(written, written, noise.map(lambda text: text + "\n")), max_size=12).map("".join)


def _written(values: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@given(body=bodies, width=st.integers(1, 4), end=st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_records_are_those_of_the_csv_module(block: int, body: str, width: int, end: bool) -> None:
    """Numbers, lines and values of every record agree, however the bytes come in blocks."""
    if end:
        body = body.removesuffix("\n")
    data = body.encode()
    splitter = CsvSplitter(width, ",", 1)
    good: list[tuple[int, int, list[str]]] = []
    bad: list[tuple[int, int]] = []
    for span in splitter.spans(data[start : start + block] for start in range(0, len(data), block)):
        rows = zip(*(column.to_pylist() for column in span.values.columns), strict=True)
        good += [
            (int(number), int(line), list(row))
            for number, line, row in zip(span.numbers, span.lines, rows, strict=True)
        ]
        bad += zip(span.bad.numbers, span.bad.lines, strict=True)
    expected = reference(body)
    numbered = list(enumerate(expected, start=1))
    assert splitter.records == len(expected) == len(good) + len(bad)
    assert good == [
        (number, record.line, record.values) for number, record in numbered if is_good(record, width)
    ]
    assert bad == [(number, record.line) for number, record in numbered if not is_good(record, width)]


@given(body=bodies)
@settings(max_examples=60, deadline=None)
def test_long_unclosed_quotes_cost_one_line(body: str) -> None:
    """A quote that is not closed within the longest record allowed is given up, wherever the blocks end."""
    limit, walk = records.MAX_RECORD_BYTES, records._WALK_BYTES
    records.MAX_RECORD_BYTES, records._WALK_BYTES = 400, 16
    try:
        data = b'1,"open\n' + b"a,b\n" * 200 + body.encode()
        splitter = CsvSplitter(2, ",", 1)
        spans = list(splitter.spans(data[start : start + 32] for start in range(0, len(data), 32)))
    finally:
        records.MAX_RECORD_BYTES, records._WALK_BYTES = limit, walk
    assert spans[0].bad.codes[0] == records.UNTERMINATED_QUOTE
    assert pa.concat_tables([span.values for span in spans]).slice(0, 190)["c0"].to_pylist() == ["a"] * 190


order_ids = st.text(alphabet="019a好", min_size=0, max_size=3)
moments = st.sampled_from(
    ["2026-01-31", "2026-01-31T10:00:00Z", "2026-01-30 23:59:59", "31.01.2026", "", "x"]
)
amounts = st.sampled_from(["1", "-2.5", "1e2", "1,5", "x", "", " 3 "])
notes = st.sampled_from(["", "two\nlines", 'a "quoted" word', "a,b", "x\r\ny"])
orders = st.lists(
    st.one_of(
        st.tuples(order_ids, moments, amounts, notes).map(lambda row: _written(list(row))),
        st.sampled_from(
            ["1,2\n", "1,2026-01-31,1,a,b\n", '"open\n', '1,"a"b,c,d\n', "\n", '1,2026-01-31,1,5" x\n']
        ),
    ),
    max_size=25,
)


def accepted_reference(record: Expected) -> bool:
    """Whether an order is good, in plain Python."""
    if not is_good(record, len(COLUMNS)) or record.values is None:
        return False
    order_id, ordered_at, amount, _ = record.values
    try:
        float(amount)
        dt.datetime.fromisoformat(ordered_at)
    except ValueError:
        return False
    return bool(order_id.strip())


@given(lines=orders, encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_record_is_accepted_or_rejected_with_its_line(lines: list[str], encoding: str) -> None:
    body = "".join(lines)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        place.put("orders/o.csv", f"{HEADER}\n{body}".encode(encoding))
        result = place.take("intake.max_failed_share=1")
        numbered = list(enumerate(reference(body), start=1))
        accepted = [(number,) for number, record in numbered if accepted_reference(record)]
        rejected = [
            (number, record.line + 1) for number, record in numbered if not accepted_reference(record)
        ]
        assert result.records == len(numbered) == result.accepted + result.rejected
        assert sorted(place.raw("orders", "_record")) == accepted
        assert place.rejects("orders", "record, line") == rejected


@given(
    versions=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=8
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_counts_is_what_lies_there(versions: list[tuple[str, int, int]]) -> None:
    """After each intake every content in landing counts once; what counted on earlier days stays as it was."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        lying: dict[str, int] = {}
        seen: dict[dt.date, list[tuple[str]]] = {}
        day = dt.date(2026, 1, 1)
        for path, content, step in versions:
            day += dt.timedelta(days=step)
            lying[path] = content
            place.put(f"products/{path}.csv", f"product_id\n{content}\n")
            place.take(f"intake.arrived_on={day}")
            seen[day] = [(str(content),) for content in sorted(set(lying.values()))]
            for earlier, rows in seen.items():
                assert sorted(place.raw("products", "product_id", earlier)) == rows
            assert {file.status for file in place.take().files} <= {"already_taken", "same_content_as"}
