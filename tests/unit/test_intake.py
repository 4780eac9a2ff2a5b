from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import stat
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from orchestration.errors import IntakeError, UsageError
from orchestration.ingestion.contracts import TABLES, TABLES_BY_NAME
from orchestration.ingestion.registry import Registry, empty_file
from tests.unit.intake_support import BUSINESS_DAY, NOW, Place

ORDERS = "order_id,ordered_at,amount\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


class TestFormats:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    @pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
    def test_csv_dialects(
        self, place: Place, delimiter: str, encoding: str, newline: str, suffix: str
    ) -> None:
        rows = [
            ["member_id", "Phone ", "city", "备注"],
            ["001", "013800000000", "上海", '"第一行\n第二""行"'],
            ["002", "", "北京", ""],
        ]
        content = newline.join(delimiter.join(row) for row in rows).encode(encoding)
        place.put(f"members/m{suffix}", gzip.compress(content) if suffix.endswith(".gz") else content)
        result = place.take()
        assert (result.records, result.accepted, result.rejected) == (2, 2, 0)
        assert result.files[0].extra_columns == ("备注",)
        rows_in = place.raw("members", "member_id, phone, city, properties, _record")
        assert [row[:3] for row in rows_in] == [("001", "013800000000", "上海"), ("002", None, "北京")]
        assert json.loads(rows_in[0][3]) == {"备注": '第一行\n第二"行'}
        assert rows_in[1][3:] == (None, 2)

    def test_json_lines(self, place: Place) -> None:
        lines = [
            '{"order_id": "007", "ordered_at": "2026-01-31T00:00:00Z", "amount": 1.25, "basket": {"a": [1, null]}}',
            "",
            '{"order_id": 12, "ordered_at": "2026-01-31", "amount": "3", "properties": {"basket": 1, "b": 2}}',
            "not json",
            "[1, 2]",
            '{"order_id": "8", "ordered_at": "2026-01-31", "amount": 1, "name": "x\\u0000y"}',
        ]
        place.put("orders/o.jsonl", "\n".join(lines))
        result = place.take()
        assert (result.records, result.accepted, result.rejected) == (5, 2, 3)
        rows = place.raw("orders", "order_id, amount, properties, _record")
        assert [(row[0], row[1], json.loads(row[2])) for row in rows] == [
            ("007", Decimal("1.2500"), {"basket": {"a": [1, None]}}),
            ("12", Decimal("3.0000"), {"basket": 1, "b": 2}),
        ]
        assert place.rejects("orders", "line, record, reason") == [
            (4, 3, "malformed_json"),
            (5, 4, "malformed_json"),
            (6, 5, "nul_byte"),
        ]

    def test_keys_of_json_lines_are_compared_like_headers(self, place: Place) -> None:
        place.put(
            "products/p.ndjson.gz",
            gzip.compress(
                b'{"Product_ID": "1", "name": "a"}\n{"product_id": "2", "NAME": "b", "a\\"b\'c": true}\n'
            ),
        )
        assert place.take().accepted == 2
        rows = place.raw("products", "product_id, name, properties")
        assert [row[:2] for row in rows] == [("1", "a"), ("2", "b")]
        assert json.loads(rows[1][2]) == {"a\"b'c": True}

    def test_gb18030_after_an_ascii_header_and_many_lines(self, place: Place) -> None:
        body = "".join(f"{n},{'a' if n < 100_000 else '上海'}{'x' * 80}\n" for n in range(110_000))
        place.put("members/m.csv", f"member_id,city\n{body}".encode("gb18030"))
        assert place.take().accepted == 110_000
        assert place.raw("members", "city")[-1][0].startswith("上海")

    def test_parquet_types(self, place: Place) -> None:
        file = place.landing / "orders" / "o.parquet"
        file.parent.mkdir()
        duckdb.execute(
            f"""copy (
                select 12.0::double as order_id, timestamptz '2026-01-31 00:00:00+08' as ordered_at, 5 as amount,
                    date '2026-02-01' as paid_at, 13800000000 as id, [1, 2] as tags, {{'a': 1}} as properties
                union all
                select 13.5, timestamptz '2026-01-31 01:00:00+00', 6, null, null, null, null
                union all
                select 14, null, 6, null, null, null, null
            ) to '{file}'"""
        )
        result = place.take()
        assert (result.records, result.accepted, result.rejected) == (3, 2, 1)
        rows = place.raw("orders", "order_id, ordered_at, amount, paid_at, id, properties")
        assert rows[0][:5] == (
            "12",
            utc("2026-01-30 16:00:00"),
            Decimal(5),
            utc("2026-01-31 16:00:00"),
            "13800000000",
        )
        assert json.loads(rows[0][5]) == {"tags": [1, 2], "a": 1}
        assert rows[1][0] == "13.5"
        assert place.rejects("orders", "line, record, reason") == [(None, 3, "required_empty")]

    def test_parquet_time_without_zone_is_business_time(self, place: Place) -> None:
        file = place.landing / "orders" / "o.parquet"
        file.parent.mkdir()
        duckdb.execute(
            f"copy (select 1 as order_id, timestamp_ns '2026-01-31 08:00:00' as ordered_at, 1.0 as amount) to '{file}'"
        )
        place.take()
        assert place.raw("orders", "ordered_at") == [(utc("2026-01-31 00:00:00"),)]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2026-01-31T12:00:00", "2026-01-31 04:00:00"),
            ("2026-01-31 12:00", "2026-01-31 04:00:00"),
            (" 2026-01-31 ", "2026-01-30 16:00:00"),
            ("2026-01-31T12:00:00Z", "2026-01-31 12:00:00"),
            ("2026-01-31T12:00:00z", "2026-01-31 12:00:00"),
            ("2026-01-31T12:00:00.123456+08:00", "2026-01-31 04:00:00.123456"),
            ("2026-01-31T12:00+08:00", "2026-01-31 04:00:00"),
            ("2026-01-31 12:00:00 -0330", "2026-01-31 15:30:00"),
            ("2026-01-31 12:00:00+08", "2026-01-31 04:00:00"),
            ("2026-01-31 12:00:00 UTC", "2026-01-31 12:00:00"),
            ("2026-01-31T12:00:00,5", "2026-01-31 04:00:00.5"),
            ("1988-07-01 12:00:00", "1988-07-01 03:00:00"),  # summer time in Shanghai then
            ("9999-12-31", "9999-12-30 16:00:00"),
            ("31/01/2026", None),
            ("31.01.2026", None),
            ("2026/01/31", None),
            ("01/02/03", None),
            ("2026-02-30", None),
            ("epoch", None),
            ("infinity", None),
            ("12026-01-31", None),
            ("2026-01-31 (BC)", None),
            ("46053", None),
        ],
    )
    def test_moments(self, place: Place, text: str, expected: str | None) -> None:
        place.put("orders/o.csv", f'{ORDERS}1,"{text}",1\n')
        result = place.take()
        assert place.raw("orders", "ordered_at") == ([(utc(expected),)] if expected else [])
        assert result.rejected == (expected is None)

    def test_zone_with_summer_time(self, place: Place) -> None:
        place.put(
            "orders/o.csv",
            f"{ORDERS}1,2026-01-31 12:00:00,1\n2,2026-07-31 12:00:00,1\n3,2026-07-31T22:30:00Z,1\n",
        )
        place.take("business_timezone=Europe/Berlin")
        assert place.raw("orders", "ordered_at, _arrived_on") == [
            (utc("2026-01-31 11:00:00"), dt.date(2026, 1, 31)),
            (utc("2026-07-31 10:00:00"), dt.date(2026, 7, 31)),
            (utc("2026-07-31 22:30:00"), dt.date(2026, 8, 1)),
        ]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1.5", "1.5"),
            (" -2 ", "-2"),
            ("1e2", "100"),
            ("10.10000000000001", "10.1"),
            ("1,234.5", None),
            ("1_000", None),
            ("nan", None),
            ("inf", None),
            ("1e15", None),
            ("¥5", None),
        ],
    )
    def test_decimals(self, place: Place, text: str, expected: str | None) -> None:
        place.put("orders/o.csv", f'{ORDERS}1,2026-01-31,"{text}"\n')
        place.take()
        assert place.raw("orders", "amount") == ([(Decimal(expected),)] if expected else [])

    @pytest.mark.parametrize(
        ("text", "expected"), [("007", 7), ("3.0", 3), ("1.5", None), ("0x1F", None), ("1e3", None)]
    )
    def test_integers(self, place: Place, text: str, expected: int | None) -> None:
        place.put("order_lines/o.csv", f"order_id,line_number,product_id,quantity,amount\n1,{text},p,1,1\n")
        place.take()
        assert place.raw("order_lines", "line_number") == ([(expected,)] if expected else [])

    def test_days(self, place: Place) -> None:
        place.put(
            "channel_costs/c.csv",
            "cost_date,channel,amount\n2026-01-31,a,1\n2026-01-31 00:00:00,b,1\n2026-01-31T20:00:00Z,c,1\nx,d,1\n",
        )
        place.take()
        assert sorted(place.raw("channel_costs", "channel, cost_date")) == [
            ("a", dt.date(2026, 1, 31)),
            ("b", dt.date(2026, 1, 31)),
            ("c", dt.date(2026, 2, 1)),
        ]

    def test_blank_is_null_and_text_stays(self, place: Place) -> None:
        place.put("contacts/c.csv", 'contact_id,added_at,name,staff_id\n0010,2026-01-31,"  ", x \n')
        place.take()
        assert place.raw("contacts", "contact_id, name, staff_id") == [("0010", None, " x ")]


class TestBadRecords:
    def test_lines_after_fields_of_several_lines(self, place: Place) -> None:
        place.put(
            "orders/o.csv",
            "order_id,ordered_at,amount,note\n"
            '1,2026-01-31,1,"a\nb\n\nc"\n'  # lines 2 to 5
            "2,2026-01-31,x,\n"  # line 6
            "\n"
            "3,2026-01-31\n"  # line 8
            "4,2026-01-31,1,a,b\n"
            '5,2026-01-31,1,"q"x\n'
            '6,2026-01-31,1,5" pipe\n'
            ",2026-01-31,y,\n"
            '7,2026-01-31,1,"never closed\n'
            "8,2026-01-31,1,last",
        )
        result = place.take()
        assert (result.records, result.accepted, result.rejected) == (9, 3, 6)
        assert place.raw("orders", "order_id, _record") == [("1", 1), ("6", 6), ("8", 9)]
        assert place.rejects("orders", 'line, record, "column", reason') == [
            (6, 2, "amount", "wrong_type"),
            (8, 3, None, "too_few_fields"),
            (9, 4, None, "too_many_fields"),
            (10, 5, None, "text_after_quote"),
            (12, 7, "order_id", "required_empty"),
            (13, 8, None, "unterminated_quote"),
        ]
        reject = place.rejects("orders", "file, empty_columns, wrong_columns, original, message")[4]
        assert reject[:3] == ("orders/o.csv", "order_id", "amount")
        assert json.loads(reject[3])["amount"] == "y"
        assert "y" not in reject[4].replace("empty", "")

    def test_private(self, place: Place) -> None:
        place.put("orders/o.csv", f"{ORDERS}1,2026-01-31,x\n2,2026-01-31,1\n")
        result = place.take()
        file = place.home.path / str(result.files[0].rejected_file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_nul_stray_return_and_damaged_text(self, place: Place) -> None:
        place.put(
            "members/m.csv",
            "member_id,city\n1,上海\n2,北京\n3,".encode()
            + b"a\0b\n4,a\rb\n5,\xff\xfe\n"
            + "6,广州\n".encode(),
        )
        result = place.take()
        assert (result.records, result.accepted, result.rejected) == (6, 3, 3)
        assert place.raw("members", "city") == [("上海",), ("北京",), ("广州",)]
        assert place.rejects("members", "line, reason") == [
            (4, "nul_byte"),
            (5, "stray_carriage_return"),
            (6, "invalid_encoding"),
        ]

    @pytest.mark.parametrize(
        ("values", "failures", "refused"),
        [(100, 5, False), (100, 6, True), (10, 5, False), (10, 6, True), (2, 2, False)],
    )
    def test_share_of_a_column(self, place: Place, values: int, failures: int, refused: bool) -> None:
        rows = "".join(f"{n},2026-01-31,{'x' if n < failures else 1}\n" for n in range(values))
        place.put("orders/o.csv", ORDERS + rows)
        if refused:
            with pytest.raises(IntakeError, match=f"{failures} of {values} values of amount fail"):
                place.take()
            assert place.raw("orders", "order_id") == []
            assert place.raw_files() == set()
            assert place.take("intake.max_failed_share=1").rejected == failures
        else:
            assert place.take().rejected == failures

    def test_share_is_of_the_values_of_the_column(self, place: Place) -> None:
        rows = "".join(f"{n},2026-01-31,1,{'' if n < 970 else '31.01.2026'}\n" for n in range(1000))
        place.put("orders/o.csv", "order_id,ordered_at,amount,paid_at\n" + rows)
        with pytest.raises(IntakeError, match="30 of 30 values of paid_at fail"):
            place.take()


class TestBadFiles:
    def test_every_bad_file_is_named_and_nothing_counts(self, place: Place) -> None:
        place.put("orders/a.csv", f"{ORDERS}1,2026-01-31,1\n")
        place.put("orders/b.csv", "order_id,ordered_at\n1,2026-01-31\n")
        place.put("orders/c.csv", "order_id,order_id,ordered_at,amount\n1,1,2026-01-31,1\n")
        place.put("orders/d.csv.gz", gzip.compress(ORDERS.encode() * 500)[:-20])
        place.put("orders/e.csv", "")
        place.put("orders/f.xlsx", "x")
        place.put("orders/g.csv", ORDERS.encode("utf-16"))
        place.put("orders/h.json", "[{}]")
        place.put("orders/dt=2026-13-01/i.csv", ORDERS)
        whole = place.landing / "orders" / "whole"
        duckdb.execute(f"copy (select range as order_id from range(1000)) to '{whole}' (format parquet)")
        place.put("orders/k.parquet", whole.read_bytes()[:-100])
        whole.unlink()
        with pytest.raises(IntakeError) as caught:
            place.take()
        message = str(caught.value)
        assert "orders/a.csv" not in message
        assert "orders/b.csv lacks the required column amount" in message
        assert "orders/c.csv has the column order_id twice" in message
        for name in ("d.csv.gz", "e.csv", "f.xlsx", "g.csv", "h.json", "dt=2026-13-01/i.csv", "k.parquet"):
            assert f"orders/{name} " in message
        assert Registry(place.home).visible_files(dt.date(2100, 1, 1)) == {}
        assert place.raw_files() == set()

        result = place.take(quarantine=True)
        assert result.accepted == 1
        assert {file.status for file in result.files if file.path != "orders/a.csv"} == {"quarantined"}
        assert all(file.reason for file in result.files if file.status == "quarantined")
        assert len(list((place.home.rejected / "quarantine" / "orders").iterdir())) == 9
        again = place.take()
        assert [file.status for file in again.files].count("quarantined") == 9

    def test_damaged_parquet_pages(self, place: Place) -> None:
        file = place.landing / "products" / "p.parquet"
        file.parent.mkdir()
        duckdb.execute(
            f"copy (select cast(hash(range) as varchar) as product_id from range(5000)) to '{file}' (format parquet)"
        )
        content = bytearray(file.read_bytes())
        content[200:4000] = b"\xff" * 3800
        file.write_bytes(content)
        with pytest.raises(IntakeError, match=r"products/p.parquet is a damaged Parquet file"):
            place.take()

    def test_a_copy_deleted_from_quarantine_is_tried_again(self, place: Place) -> None:
        place.put("orders/a.csv", "order_id\n1\n")
        place.take(quarantine=True)
        for copy in (place.home.rejected / "quarantine" / "orders").iterdir():
            copy.unlink()
        with pytest.raises(IntakeError, match="lacks the required columns ordered_at, amount"):
            place.take()

    def test_a_new_version_set_aside_leaves_the_old_one(self, place: Place) -> None:
        place.put("orders/a.csv", f"{ORDERS}1,2026-01-31,1\n")
        place.take()
        place.put("orders/a.csv", "order_id\n1\n")
        place.put("orders/b.csv", f"{ORDERS}1,2026-01-31,1\n")
        result = place.take(quarantine=True)
        assert [(file.path, file.status, file.same_as) for file in result.files] == [
            ("orders/a.csv", "quarantined", None),
            ("orders/b.csv", "same_content_as", "orders/a.csv"),
        ]
        assert place.raw("orders", "order_id") == [("1",)]


class TestLanding:
    def test_missing_folder(self, place: Place) -> None:
        place.landing.rmdir()
        with pytest.raises(UsageError, match="does not exist"):
            place.take()

    def test_unknown_table(self, place: Place) -> None:
        place.put("order/o.csv", ORDERS)
        with pytest.raises(UsageError, match=r"Did you mean orders\?"):
            place.take()

    def test_file_outside_a_table(self, place: Place) -> None:
        place.put("orders.csv", ORDERS)
        with pytest.raises(UsageError, match="outside every table's folder"):
            place.take()

    def test_link(self, place: Place, tmp_path: Path) -> None:
        outside = tmp_path / "outside.csv"
        outside.write_text(ORDERS)
        (place.landing / "orders").mkdir()
        (place.landing / "orders" / "o.csv").symlink_to(outside)
        with pytest.raises(UsageError, match="is a link"):
            place.take()

    def test_skipped_files(self, place: Place) -> None:
        for name in (".hidden.csv", "_SUCCESS", "o.csv.part", "_old/o.csv", ".git/o.csv"):
            place.put(f"orders/{name}", "x")
        assert place.take().files == ()

    def test_empty_landing(self, place: Place) -> None:
        assert place.take().to_dict()["records"] == 0


class TestVersions:
    def test_content_is_taken_in_once(self, place: Place) -> None:
        place.put("orders/b/o.csv", f"{ORDERS}1,2026-01-31,1\n")
        first = place.take()
        place.put("orders/a/same.csv", f"{ORDERS}1,2026-01-31,1\n")
        second = place.take()
        assert [file.status for file in first.files] == ["taken"]
        assert [(file.status, file.same_as) for file in second.files] == [
            ("same_content_as", "orders/b/o.csv"),
            ("already_taken", None),
        ]
        assert place.raw("orders", "order_id") == [("1",)]

    def test_a_path_with_other_content_is_a_new_version_from_its_arrival_on(self, place: Place) -> None:
        place.put("orders/dt=2026-02-01/o.csv", f"{ORDERS}1,2026-01-31,1\n2,2026-01-31,1\n")
        place.put("orders/o.csv", f"{ORDERS}3,2026-01-31,1\n")
        place.take()
        place.put("orders/o.csv", f"{ORDERS}4,2026-01-31,1\n")
        result = place.take()
        assert [file.status for file in result.files] == ["already_taken", "new_version"]
        registry = Registry(place.home)
        assert place.raw("orders", "order_id", BUSINESS_DAY - dt.timedelta(days=1)) == [
            ("3",),
            ("1",),
            ("2",),
        ]
        assert place.raw("orders", "order_id", BUSINESS_DAY) == [("1",), ("2",), ("4",)]
        assert place.raw("orders", "order_id", dt.date(2026, 1, 30)) == []
        assert registry.input_hash(BUSINESS_DAY) != registry.input_hash(BUSINESS_DAY - dt.timedelta(days=1))
        # Back to the first content: a third version, and the rows count again.
        place.put("orders/o.csv", f"{ORDERS}3,2026-01-31,1\n")
        assert [file.status for file in place.take(business_day=dt.date(2026, 3, 2)).files][
            1
        ] == "new_version"
        assert place.raw("orders", "order_id", dt.date(2026, 3, 2)) == [("1",), ("2",), ("3",)]
        assert place.raw("orders", "order_id", BUSINESS_DAY) == [("1",), ("2",), ("4",)]

    def test_renamed_while_the_old_name_got_other_content(self, place: Place) -> None:
        place.put("orders/b.csv", f"{ORDERS}1,2026-01-31,1\n")
        place.take()
        place.put("orders/a.csv", f"{ORDERS}1,2026-01-31,1\n")
        place.put("orders/b.csv", f"{ORDERS}2,2026-01-31,1\n")
        assert [file.status for file in place.take().files] == ["taken", "new_version"]
        assert place.raw("orders", "order_id") == [("1",), ("2",)]

    def test_the_hash_does_not_depend_on_when(self, tmp_path: Path) -> None:
        together, apart = Place(tmp_path / "together"), Place(tmp_path / "apart")
        names = ("orders/dt=2026-01-01/a.csv", "orders/dt=2026-01-02/b.csv")
        for number, name in enumerate(names):
            together.put(name, f"{ORDERS}{number},2026-01-01,1\n")
            apart.put(name, f"{ORDERS}{number},2026-01-01,1\n")
            apart.take(now=NOW + dt.timedelta(days=number))
        together.take()
        hashes = [
            [Registry(one.home).input_hash(dt.date(2026, 1, day)) for day in (1, 2, 3)]
            for one in (together, apart)
        ]
        assert hashes[0] == hashes[1]
        assert hashes[0][0] != hashes[0][1] == hashes[0][2]

    def test_taken_in_at_rises(self, place: Place) -> None:
        for name in ("orders/b.csv", "orders/a.csv", "members/m.csv"):
            place.put(name, f"member_id,{ORDERS.strip()}\n{name},{name},2026-01-31,1\n")
        place.take()
        place.put("orders/0.csv", f"{ORDERS}9,2026-01-31,1\n")
        place.take()
        rows = place.raw("members", "member_id, _taken_in_at") + place.raw("orders", "order_id, _taken_in_at")
        start = NOW.replace(tzinfo=None)
        assert sorted(rows, key=lambda row: row[1]) == [
            (name, start + dt.timedelta(microseconds=k))
            for k, name in enumerate(("members/m.csv", "orders/a.csv", "orders/b.csv", "9"))
        ]


class TestArrival:
    def test_first_intake_by_the_rows_own_day(self, place: Place) -> None:
        place.put("orders/o.csv", f"{ORDERS}1,2026-01-31 23:59:59,1\n2,2026-01-31T16:00:00Z,1\n")
        place.put("members/m.csv", "member_id,registered_at\na,2026-01-15\nb,\n")
        place.put("products/p.csv", "product_id\np\n")
        result = place.take()
        assert place.raw("orders", "order_id, _arrived_on") == [
            ("1", dt.date(2026, 1, 31)),
            ("2", dt.date(2026, 2, 1)),
        ]
        assert sorted(place.raw("members", "member_id, _arrived_on")) == [
            ("a", dt.date(2026, 1, 15)),
            ("b", dt.date(2026, 1, 15)),
        ]
        assert place.raw("products", "_arrived_on") == [(dt.date(2026, 1, 15),)]
        assert {name.split("/")[2] for name in place.raw_files()} == {
            "2026-01-15",
            "2026-01-31",
            "2026-02-01",
        }
        assert [file.first_arrived_on for file in result.files] == [
            dt.date(2026, 1, 15),
            dt.date(2026, 1, 31),
            dt.date(2026, 1, 15),
        ]

    def test_nothing_dated(self, place: Place) -> None:
        place.put("products/p.csv", "product_id\np\n")
        place.take()
        assert place.raw("products", "_arrived_on") == [(dt.date(1990, 1, 1),)]

    def test_later_the_day_of_intake(self, place: Place) -> None:
        place.put("orders/o.csv", f"{ORDERS}1,2026-01-31,1\n")
        place.take()
        place.put("orders/p.csv", f"{ORDERS}2,2026-01-31,1\n")
        place.put("orders/x/dt=2026-02-03/q.csv", f"{ORDERS}3,2026-01-31,1\n")
        place.take()
        assert place.raw("orders", "order_id, _arrived_on") == [
            ("1", dt.date(2026, 1, 31)),
            ("3", dt.date(2026, 2, 3)),
            ("2", BUSINESS_DAY),
        ]

    @pytest.mark.parametrize(
        ("setting", "days"), [("row_date", [31, 31, 31]), ("2026-01-05", [5, 5, 5]), ("auto", [31, 3, 1])]
    )
    def test_setting(self, place: Place, setting: str, days: list[int]) -> None:
        place.put("orders/o.csv", f"{ORDERS}1,2026-01-31,1\n")
        place.take(f"intake.arrived_on={setting}")
        place.put("orders/dt=2026-02-03/p.csv", f"{ORDERS}2,2026-01-31,1\n")
        place.put("orders/q.csv", f"{ORDERS}3,2026-01-31,1\n")
        place.take(f"intake.arrived_on={setting}")
        assert [row[1].day for row in sorted(place.raw("orders", "order_id, _arrived_on"))] == days

    def test_many_days_in_any_order(self, place: Place) -> None:
        rows = "".join(
            f"{n},{dt.date(2020, 1, 1) + dt.timedelta(days=n * 7919 % 400)},1,{'x' * 60}\n"
            for n in range(60_000)
        )
        place.put("orders/o.csv", "order_id,ordered_at,amount,note\n" + rows)
        result = place.take()
        assert result.accepted == 60_000
        assert len(place.raw_files()) <= 410
        files = [str(file) for file in Registry(place.home).visible_files(dt.date(2020, 1, 1))["orders"]]
        row = duckdb.execute("select count(*), max(_arrived_on) from read_parquet(?)", [files]).fetchone()
        assert row == (150, dt.date(2020, 1, 1))


class TestEmptyFiles:
    def test_every_table_has_a_typed_empty_file(self, place: Place) -> None:
        for table in TABLES:
            file = empty_file(place.home, table)
            relation = duckdb.execute(f"select * from read_parquet('{file}')")
            names = [column[0] for column in relation.description or []]
            assert names == [
                *(column.name for column in table.columns),
                "_file_id",
                "_record",
                "_arrived_on",
                "_taken_in_at",
            ]
            assert relation.fetchall() == []

    def test_types_agree_with_rows(self, place: Place) -> None:
        place.put("orders/o.csv", f"{ORDERS}1,2026-01-31,1\n")
        place.take()
        table = TABLES_BY_NAME["orders"]
        files = [empty_file(place.home, table), *Registry(place.home).visible_files(BUSINESS_DAY)["orders"]]
        described = [
            duckdb.execute(f"describe select * from read_parquet('{file}')").fetchall() for file in files
        ]
        assert described[0] == described[1]

    def test_written_again_only_when_the_contract_changed(self, place: Place) -> None:
        table = TABLES_BY_NAME["orders"]
        file = empty_file(place.home, table)
        os.utime(file, (0, 0))
        empty_file(place.home, table)
        assert file.stat().st_mtime == 0
        file.write_bytes(b"other")
        empty_file(place.home, table)
        assert file.stat().st_size > 5


def test_result_is_json(place: Place) -> None:
    place.put("orders/o.csv", f"{ORDERS}1,2026-01-31,1\n2,2026-01-31,x\n")
    shown = json.loads(json.dumps(place.take().to_dict()))
    assert shown["tables"] == {"orders": {"files": 1, "records": 2, "accepted": 1, "rejected": 1}}
    assert shown["files"][0]["first_arrived_on"] == "2026-01-31"


def test_leftovers_of_a_killed_intake_are_swept(place: Place) -> None:
    place.put("orders/o.csv", f"{ORDERS}1,2026-01-31,1\n")
    place.take()
    known = place.raw_files()
    stray = place.home.raw / "orders" / "2026-01-31" / "0.parquet"
    stray.write_bytes(b"half")
    (place.home.raw / ".intake").mkdir(exist_ok=True)
    empty_file(place.home, TABLES_BY_NAME["orders"])
    place.take()
    assert place.raw_files() == known | {"raw/orders/empty.parquet"}
