"""Whatever a source holds, every record of it is explained, and the days can come in any order."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import random
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.home import Home
from orchestration.ingestion.datasets import DatasetReport, load_dataset, prepare
from orchestration.settings import Settings

SHOP = load_dataset(Path(__file__).parents[1] / "unit" / "data" / "shop.yml")
COLUMNS = ["order_no", "phone", "sku", "pieces", "price", "paid"]
FIRST_DAY = dt.date(2026, 3, 1)

field = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)
record = st.tuples(
    st.sampled_from(["A1", "A2", "TEST1", ""]),
    field,
    field,
    st.sampled_from(["1", " 2 ", "-3", "2.0", "1.5", "x", ""]),
    st.sampled_from(["9,90", "0", "1e2", "-1.5", "free", ""]),
    st.sampled_from(["01.03.2026 10:00", "1.3.2026 9:05", "2026-03-01", ""]),
)
days = st.lists(st.lists(record, max_size=12), min_size=1, max_size=3)


def fate(values: tuple[str, ...]) -> str:
    """What must become of a record, in plain Python."""
    order_no, _, sku, pieces, price, paid = values
    if not order_no:
        return "order_no is empty"
    if not sku:
        return "sku is empty"
    if pieces.strip() not in ("1", "2", "-3", "2.0"):
        return "pieces is no whole number" if pieces.strip() else "pieces is empty"
    if price not in ("9,90", "0", "1e2", "-1.5"):
        return "price is no number" if price else "price is empty"
    if not paid[:2].strip(".").isdigit() or paid.startswith("2026"):
        return "paid is no time" if paid else "paid is empty"
    return "test_order" if order_no.startswith("TEST") else "mapped"


def write(folder: Path, number: int, records: list[tuple[str, ...]]) -> Path:
    day = FIRST_DAY + dt.timedelta(days=number)
    file = folder / f"orders_{day:%Y%m%d}.csv"
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter=";", lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(records)
    return file


def load(source: Path, home: Home) -> DatasetReport:
    tolerant = Settings.model_validate({"intake": {"max_failed_share": 1}})
    return prepare(SHOP, source, home, tolerant).report


def content(home: Home) -> dict[str, str]:
    return {
        file.relative_to(home.landing).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in home.landing.rglob("*.parquet")
    }


@settings(max_examples=10, deadline=None)
@given(days, st.randoms(use_true_random=False))
def test_every_record_is_explained_in_any_order_of_days(
    source: list[list[tuple[str, ...]]], order: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        at_once, growing = folder / "all", folder / "growing"
        at_once.mkdir()
        growing.mkdir()
        files = [write(at_once, number, records) for number, records in enumerate(source)]
        report = load(at_once, Home(folder / "home"))
        counts = report.inputs["lines"]
        expected = Counter(fate(values) for records in source for values in records)
        assert counts.records == counts.explained == sum(expected.values())
        assert counts.excluded.get("test_order", 0) == expected.pop("test_order", 0)
        assert counts.mapped.get("orders+order_lines", 0) == expected.pop("mapped", 0)
        assert counts.malformed == expected
        assert report.tables["order_lines"] == counts.mapped.get("orders+order_lines", 0)

        order.shuffle(files)
        for file in files:
            (growing / file.name).write_bytes(file.read_bytes())
            grown = load(growing, Home(folder / "daily"))
        assert content(Home(folder / "daily")) == content(Home(folder / "home"))
        assert grown.inputs["lines"].records == counts.records
