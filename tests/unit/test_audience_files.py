"""Audience files: bytes of the CSV, cells of the workbook, raw values of Parquet, and the manifest that covers them."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest

from orchestration.errors import JingxiError, UsageError
from orchestration.home import Home
from orchestration.publishing.audience_files import (
    AudienceExport,
    ExportColumn,
    ExportResult,
    write_audience_files,
)
from orchestration.publishing.publish import publish
from orchestration.settings import Settings
from orchestration.writing.xlsx import SheetColumn, write_xlsx

SETTINGS = Settings.model_validate({})
DAY = dt.date(2026, 6, 30)
NOW = dt.datetime(2026, 7, 1, 2, 0, tzinfo=dt.UTC)
DDL = """
create schema if not exists marts;
create schema if not exists private;
create or replace table marts.user_wide (
    user_id varchar not null, nickname varchar, net_amount decimal(18, 4), balance bigint, discount_share double,
    order_id varchar, is_member boolean, last_order_date date, last_cart_at timestamp, outer_id bigint
);
create or replace table marts.user_tags (user_id varchar not null, tag varchar not null, value varchar, weight double);
create or replace table marts.audience_members (
    audience varchar not null, user_id varchar not null, as_of_date date not null, entered_date date, is_holdout boolean not null
);
create or replace table private.user_identifiers (
    user_id varchar not null, id_type varchar not null, id varchar not null, last_seen_at timestamp
);
"""
USERS: list[tuple[Any, ...]] = [
    ("u1", "=1+1", "-5.5", -5, 0.25, "123456789012345678", True, DAY, dt.datetime(2026, 6, 30, 17, 30), 1),
    ("u2", 'a,"b"\nc', None, None, float("nan"), "007", False, None, None, 10**17),
    ("u3", "\r\n＝x", "10", 0, 1.0, "13800000000", None, dt.date(1899, 1, 1), dt.datetime(2026, 1, 1), None),
    ("u4", "", "0.1", 3, 0.5, "0", True, DAY, dt.datetime(2026, 6, 30), 2),
    ("u5", "held out", "1", 1, 0.1, "5", True, DAY, None, 3),
]
COLUMNS = (
    ExportColumn("user_id", label="用户ID"),
    ExportColumn("phone", "identifier", "手机号"),
    ExportColumn("nickname", label="昵称, 名"),
    ExportColumn("net_amount"),
    ExportColumn("balance"),
    ExportColumn("discount_share"),
    ExportColumn("order_id"),
    ExportColumn("is_member"),
    ExportColumn("last_order_date"),
    ExportColumn("last_cart_at"),
    ExportColumn("outer_id"),
    ExportColumn("style", "tag", "风格"),
)
AUDIENCE = AudienceExport("win-back", "挽回 Win back", COLUMNS, definition={"all": ["days ≥ 30"]})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    build(home)
    return home


def build(
    home: Home, *, input_hash: str = "h1", users: list[tuple[Any, ...]] = USERS, day: dt.date = DAY
) -> None:
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute(DDL)
        connection.executemany("insert into marts.user_wide values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", users)
        connection.executemany(
            "insert into marts.audience_members values ('win-back', ?, ?, ?, ?)",
            [(user[0], day, day, user[0] == "u5") for user in users],
        )
        connection.execute(
            "insert into marts.user_tags values ('u1', 'style', 'casual', 1), ('u1', 'style', 'business', 2), "
            "('u1', 'other', 'x', 1), ('u3', 'style', null, 1), ('u9', 'style', 'sport', 1)"
        )
        connection.execute(
            "insert into private.user_identifiers values "
            "('u1', 'phone', '13800000001', '2026-01-01'), ('u1', 'phone', '013800000000', '2026-02-01'), "
            "('u1', 'phone', '13800000002', null), ('u1', 'email', 'a@example.com', '2026-03-01'), "
            "('u2', 'phone', '+8613800000003', '2026-01-01'), ('u3', 'phone', '13800000005', '2026-01-01'), "
            "('u3', 'phone', '13800000004', '2026-01-01'), ('u5', 'phone', '13800000009', '2026-01-01')"
        )
    publish(home, SETTINGS, as_of=day, input_hash=input_hash, by_date={}, now=NOW)


def export(home: Home, audience: AudienceExport = AUDIENCE, **options: Any) -> ExportResult:
    return write_audience_files(home, audience, settings=SETTINGS, **options)


def manifest(result: ExportResult) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((result.folder / "manifest.json").read_text(encoding="utf-8"))
    return value


def times(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}


def test_bytes_of_the_csv_for_people(home: Home) -> None:
    result = export(home)
    assert (result.folder / "audience.csv").read_bytes() == b"\xef\xbb\xbf" + (
        '用户ID,手机号,"昵称, 名",net_amount,balance,discount_share,order_id,is_member,last_order_date,last_cart_at,outer_id,风格\r\n'
        "u1,\t013800000000,'=1+1,-5.5000,-5,0.25,\t123456789012345678,true,2026-06-30,2026-07-01 01:30:00,1,business; casual\r\n"
        'u2,\'+8613800000003,"a,""b""\nc",,,,\t007,false,,,\t100000000000000000,\r\n'
        'u3,13800000004,"\'\r\n＝x",10.0000,0,1.0,13800000000,,1899-01-01,2026-01-01 08:00:00,,true\r\n'
        "u4,,,0.1000,3,0.5,0,true,2026-06-30,2026-06-30 08:00:00,2,\r\n"
    ).encode()


def test_cells_of_the_workbook(home: Home) -> None:
    result = export(home)
    workbook = openpyxl.load_workbook(result.folder / "audience.xlsx")
    assert workbook.sheetnames == ["名单", "说明"]
    sheet = workbook["名单"]
    assert sheet.freeze_panes == "A2"
    assert [cell.value for cell in sheet[1]][:4] == ["用户ID", "手机号", "昵称, 名", "net_amount"]
    assert all(cell.font.bold for cell in sheet[1])
    cells = {(row, cell.column): cell for row in range(2, 6) for cell in sheet[row]}

    def typed(row: int, column: int) -> tuple[str, Any]:
        cell = cells[row, column]
        return cell.data_type, cell.value

    assert typed(2, 2) == ("s", "013800000000")
    assert typed(2, 3) == ("s", "=1+1")
    assert cells[2, 3].quotePrefix
    assert typed(2, 4) == ("n", -5.5)
    assert typed(2, 5) == ("n", -5)
    assert (typed(2, 6), cells[2, 6].number_format) == (("n", 0.25), "0.0%")
    assert typed(2, 7) == ("s", "123456789012345678")
    assert typed(2, 8) == ("b", True)
    assert typed(2, 9) == ("d", dt.datetime(2026, 6, 30))
    assert cells[2, 9].number_format == "yyyy-mm-dd"
    assert typed(2, 10) == ("d", dt.datetime(2026, 7, 1, 1, 30))
    assert typed(3, 2) == ("s", "+8613800000003")
    assert typed(3, 3) == ("s", 'a,"b"\nc')
    assert typed(3, 6) == ("n", None)
    assert typed(3, 11) == ("s", "100000000000000000")
    assert typed(3, 8) == ("b", False)
    assert typed(4, 9) == ("s", "1899-01-01")
    empty = [(3, 4), (3, 5), (3, 6), (3, 9), (3, 10), (3, 12), (4, 8), (4, 11), (5, 2), (5, 3)]
    assert [typed(*place) for place in empty] == [("n", None)] * len(empty)
    assert all(cells[row, 2].number_format == "@" for row in (2, 3, 4))
    about = {row[0].value: row[1].value for row in workbook["说明"].iter_rows()}
    assert about["人群 Audience"] == "挽回 Win back (win-back)"
    assert (about["名单人数 Rows"], about["对照组（不在名单）Held out"]) == ("4", "1")
    assert json.loads(str(about["定义 Definition"])) == {"all": ["days ≥ 30"]}


def test_a_sheet_shows_names_where_other_files_keep_codes(home: Home) -> None:
    columns = (
        ExportColumn("user_id"),
        ExportColumn("balance", label="余额", values=(("-5", "欠款"), ("0", "无"), ("3", "'有"))),
        ExportColumn("order_id", label="订单"),
        ExportColumn("style", "tag", "风格", (("casual", "休闲"), ("business", "商务"), ("true", "是"))),
    )
    codes, named = (
        export(home, AudienceExport("win-back", "挽回", tuple(ExportColumn(*given) for given in kept)))
        for kept in (
            [(c.name, c.kind, c.label) for c in columns],
            [(c.name, c.kind, c.label, c.values) for c in columns],
        )
    )
    sheet = openpyxl.load_workbook(named.folder / "audience.xlsx")["名单"]
    assert [[row[at].value for at in (1, 3)] for row in sheet.iter_rows(min_row=2)] == [
        ["欠款", "商务; 休闲"],
        [None, None],
        ["无", "是"],
        ["'有", None],
    ]
    about = {
        row[0].value: row[1].value for row in openpyxl.load_workbook(named.folder / "audience.xlsx")["说明"]
    }
    assert about["风格"] == "user_tags.style (休闲 = casual, 商务 = business, 是 = true)"
    digest = {result: {str(file.format): file.sha256 for file in result.files} for result in (codes, named)}
    assert digest[codes]["xlsx"] != digest[named]["xlsx"]
    assert all(digest[codes][other] == digest[named][other] for other in ("csv", "parquet"))


def test_parquet_holds_raw_values(home: Home) -> None:
    result = export(home)
    relation = duckdb.sql(f"from '{result.folder / 'audience.parquet'}'")
    assert relation.columns == [column.name for column in COLUMNS]
    rows = relation.fetchall()
    assert rows[0][:4] == ("u1", "013800000000", "=1+1", rows[0][3])
    assert str(rows[0][3]) == "-5.5000"
    assert rows[0][9] == dt.datetime(2026, 6, 30, 17, 30)
    assert rows[1][1:3] == ("+8613800000003", 'a,"b"\nc')
    assert str(relation.types[3]) == "DECIMAL(18,4)"
    assert str(relation.types[8]) == "DATE"


def test_machine_csv_is_raw_without_mark(home: Home) -> None:
    result = export(home, formats=["csv_machine"])
    text = (result.folder / "audience_machine.csv").read_bytes()
    assert text.startswith(b"user_id,phone,nickname,")
    rows = list(csv.reader(text.decode().splitlines(keepends=True)))
    assert rows[1][:3] == ["u1", "013800000000", "=1+1"]
    assert b"\r\n" not in text.replace("\r\n＝".encode(), b"")


def test_manifest_describes_every_file(home: Home) -> None:
    result = export(home)
    content = manifest(result)
    assert (result.rows, result.held_out) == (4, 1)
    assert (content["count"], content["members"], content["holdout"]) == (4, 5, 1)
    assert (content["audience"], content["as_of_date"]) == ("win-back", "2026-06-30")
    assert content["definition"] == {"all": ["days ≥ 30"]}
    assert content["definition_hash"] == AUDIENCE.hash()
    assert content["publication"]["input_hash"] == "h1"
    assert [file["name"] for file in content["files"]] == [
        "audience.csv",
        "audience.xlsx",
        "audience.parquet",
    ]
    for file in content["files"]:
        data = (result.folder / file["name"]).read_bytes()
        assert (file["rows"], file["bytes"], file["sha256"]) == (
            4,
            len(data),
            hashlib.sha256(data).hexdigest(),
        )
    by_name = {column["name"]: column for column in content["columns"]}
    assert (by_name["phone"]["filled"], by_name["phone"]["users_with_several"]) == (3, 2)
    csv_file = content["files"][0]
    assert csv_file["profile"] == "human"
    assert {entry["column"]: (entry["apostrophe"], entry["tab"]) for entry in csv_file["changed_cells"]} == {
        "phone": (1, 1),
        "nickname": (2, 0),
        "order_id": (0, 2),
        "outer_id": (0, 1),
    }
    assert {file.name for file in result.folder.iterdir()} == {
        "audience.csv",
        "audience.xlsx",
        "audience.parquet",
        "manifest.json",
    }


def test_files_are_for_the_owner_only(home: Home) -> None:
    result = export(home)
    assert {file.stat().st_mode & 0o777 for file in result.folder.iterdir()} == {0o600}
    assert result.folder.stat().st_mode & 0o777 == 0o700
    assert result.folder.parent.stat().st_mode & 0o777 == 0o700


def test_held_out_members_are_in_no_file(home: Home) -> None:
    result = export(home)
    assert b"u5" not in (result.folder / "audience.csv").read_bytes()
    assert duckdb.sql(
        f"select count(*) from '{result.folder}/audience.parquet' where user_id = 'u5'"
    ).fetchall() == [(0,)]
    sheet = openpyxl.load_workbook(result.folder / "audience.xlsx")["名单"]
    assert [row[0].value for row in sheet.iter_rows(min_row=2)] == ["u1", "u2", "u3", "u4"]


def test_same_bytes_leave_everything_untouched_also_after_a_new_publication(home: Home) -> None:
    first = export(home)
    before = times(first.folder)
    second = export(home, formats=["csv"])
    assert second.unchanged
    publish(home, SETTINGS, as_of=DAY, input_hash="h2", by_date={}, now=NOW + dt.timedelta(days=3))
    third = export(home)
    assert third.unchanged
    assert times(first.folder) == before
    assert second.files == first.files == third.files


def test_two_homes_write_the_same_bytes(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.create()
    build(other, users=list(reversed(USERS)), input_hash="other")
    mine, theirs = export(home), export(other)
    assert [file.sha256 for file in mine.files] == [file.sha256 for file in theirs.files]


def test_change_takes_the_manifest_away_first_and_brings_it_back_last(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export(home)
    changed = [*USERS[:3], ("u4", "new name", "0.1", 3, 0.5, "0", True, DAY, None, 2)]
    build(home, users=changed, input_hash="h2")
    seen: list[tuple[str, bool]] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append((Path(target).name, (first.folder / "manifest.json").exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    second = export(home)
    assert not second.unchanged
    assert seen == [
        (name, False) for name in ("audience.csv", "audience.xlsx", "audience.parquet", "manifest.json")
    ]


def test_damaged_file_is_written_again(home: Home) -> None:
    first = export(home)
    (first.folder / "audience.csv").write_text("half")
    second = export(home)
    assert not second.unchanged
    assert second.files == first.files


def test_other_formats_of_the_folder_stay_covered(home: Home) -> None:
    export(home)
    build(home, users=USERS[:2], input_hash="h2")
    result = export(home, formats=["csv"])
    assert [file.format for file in result.files] == ["csv", "xlsx", "parquet"]
    assert {file["rows"] for file in manifest(result)["files"]} == {2}


def test_empty_audience_has_files_with_a_header(home: Home) -> None:
    result = export(home, AudienceExport("nobody", "空", COLUMNS))
    assert (result.rows, result.held_out, manifest(result)["count"]) == (0, 0, 0)
    text = (result.folder / "audience.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    assert text.count(b"\r\n") == 1
    assert duckdb.sql(f"select count(*) from '{result.folder}/audience.parquet'").fetchall() == [(0,)]
    assert openpyxl.load_workbook(result.folder / "audience.xlsx")["名单"].max_row == 1
    again = export(home, AudienceExport("nobody", "空", COLUMNS))
    assert again.unchanged


def test_one_column_with_empty_cells_keeps_its_rows(home: Home) -> None:
    result = export(home, AudienceExport("win-back", "x", (ExportColumn("phone", "identifier"),)))
    lines = (result.folder / "audience.csv").read_bytes().split(b"\r\n")
    assert len(lines) == 6
    assert lines[4] == b'""'


def test_columns_with_one_name_or_one_header_stay_apart(home: Home) -> None:
    columns = (
        ExportColumn("is_member", label="X"),
        ExportColumn("style", "tag", "X"),
        ExportColumn("phone", "identifier", "Y"),
        ExportColumn("phone", "tag", "Z"),
    )
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("insert into marts.user_tags values ('u2', 'phone', 'android', 1)")
    publish(home, SETTINGS, as_of=DAY, input_hash="h2", by_date={}, now=NOW)
    result = export(home, AudienceExport("win-back", "x", columns))
    header = (result.folder / "audience.csv").read_text(encoding="utf-8-sig").splitlines()[0]
    assert header == "X (is_member),X (style),Y,Z"
    relation = duckdb.sql(f"from '{result.folder / 'audience.parquet'}'")
    assert relation.columns == ["is_member", "style", "phone", "tag_phone"]
    assert relation.fetchall()[1] == (False, None, "+8613800000003", "android")


def test_leftovers_of_a_killed_export_are_swept(home: Home) -> None:
    folder = home.exports / "win-back" / "2026-06-30"
    (folder / "work.part" / "spill").mkdir(parents=True)
    (folder / "audience.csv.part").write_text("half")
    result = export(home)
    assert not list(result.folder.glob("*.part"))


@pytest.mark.parametrize("name", ["../x", "", "A", "a/b", "x" * 65, "名单", "a.b", "a\n"])
def test_names_that_could_leave_the_folder_are_refused(home: Home, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name an audience"):
        export(home, AudienceExport(name, "x"))


def test_a_link_out_of_the_folder_is_refused(home: Home, tmp_path: Path) -> None:
    (home.exports / "win-back").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="leads out of"):
        export(home)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (ExportColumn("shoe_size"), "column shoe_size, which user_wide does not have"),
        (ExportColumn("shoe_tag", "tag"), "tag shoe_tag, which does not exist"),
    ],
)
def test_unknown_columns_are_named(home: Home, column: ExportColumn, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        export(home, AudienceExport("win-back", "x", (column,)))


def test_wrong_use_is_named(home: Home, tmp_path: Path) -> None:
    twice = (ExportColumn("user_id"), ExportColumn("USER_ID"))
    with pytest.raises(UsageError, match="twice"):
        export(home, AudienceExport("win-back", "x", twice))
    with pytest.raises(UsageError, match="choose formats"):
        export(home, formats=["pdf"])
    with pytest.raises(JingxiError, match="describe 2026-06-30, not 2026-06-29"):
        export(home, as_of=dt.date(2026, 6, 29))
    with pytest.raises(JingxiError, match="Nothing is published"):
        export(Home(tmp_path / "empty"))


def test_files_of_two_versions_are_not_mixed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.publishing.pair._WAIT_SECONDS", 0.001)
    marts = home.marts.read_bytes()
    publish(home, SETTINGS, as_of=DAY, input_hash="h2", by_date={}, now=NOW + dt.timedelta(days=1))
    home.marts.write_bytes(marts)
    with pytest.raises(JingxiError, match="was interrupted"):
        export(home)


def test_rows_beyond_a_sheet_go_to_the_next(tmp_path: Path) -> None:
    file = tmp_path / "x.xlsx"
    columns = [SheetColumn("id", "id", "text", 8), SheetColumn("n", "n", "integer", 8)]
    session = duckdb.connect(":memory:")
    session.execute(
        "create table list as select i + 1 as position, i as n, "
        "case i when 5 then repeat('x', 40000) else 'u' || i end as id from range(7) as t(i)"
    )
    result = write_xlsx(
        file,
        sheet_name="名单",
        columns=columns,
        session=session,
        rows="list",
        about_name="说明",
        about=[("a", "b")],
        created=dt.datetime(2026, 6, 30),
        temp_folder=tmp_path,
        rows_per_sheet=3,
    )
    assert (result.rows, result.sheets, result.shortened_cells) == (7, 3, 1)
    workbook = openpyxl.load_workbook(file)
    assert workbook.sheetnames == ["名单", "名单 2", "名单 3", "说明"]
    values = [
        row[1].value for name in workbook.sheetnames[:-1] for row in workbook[name].iter_rows(min_row=2)
    ]
    assert values == list(range(7))
    assert all(workbook[name]["A1"].value == "id" for name in workbook.sheetnames[:-1])
    assert workbook["名单 2"]["A4"].value == "x" * 32_767
    assert [workbook[name].dimensions for name in workbook.sheetnames[:-1]] == ["A1:B4", "A1:B4", "A1:B2"]


KILLED = """
import sys
from pathlib import Path
from tests.unit.test_audience_files import AUDIENCE, SETTINGS, USERS, Home, build, write_audience_files
home = Home(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    for formats in (["csv", "xlsx", "parquet"], ["csv"]):
        write_audience_files(home, AUDIENCE, settings=SETTINGS, formats=formats)
    (home.exports / "win-back" / "2026-06-30" / "audience.xlsx").write_bytes(b"damaged on purpose")
    (home.exports / "win-back" / "2026-06-30" / "manifest.json").unlink()
"""


def test_killed_export_leaves_no_manifest_that_lies(home: Home) -> None:
    root = Path(__file__).resolve().parents[2]
    folder = home.exports / "win-back" / "2026-06-30"
    good = {file.path.name: file.sha256 for file in export(home).files}
    for trial in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(home.path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + 0.037 * trial)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if (folder / "manifest.json").exists():
            for file in json.loads((folder / "manifest.json").read_text())["files"]:
                data = (folder / file["name"]).read_bytes()
                assert hashlib.sha256(data).hexdigest() == file["sha256"] or data == b"damaged on purpose"
    result = export(home, formats=["csv", "xlsx", "parquet"])
    assert {file.path.name: file.sha256 for file in result.files} == good
    assert not list(folder.glob("*.part"))


def test_serial_dates_and_large_numbers_of_the_workbook(tmp_path: Path) -> None:
    days = [
        dt.date(1900, 1, 1),
        dt.date(1900, 2, 28),
        dt.date(1900, 3, 1),
        dt.date(2026, 12, 31),
        dt.date(1899, 12, 31),
    ]
    numbers = [10**15 - 1, 10**15, -(10**15), 0, 1]
    session = duckdb.connect(":memory:")
    session.execute(
        "create table list (position bigint, day date, moment timestamp, number bigint, share double)"
    )
    for position, (day, number) in enumerate(zip(days, numbers, strict=True), start=1):
        moment = dt.datetime.combine(day, dt.time(23, 59, 59))
        session.execute(
            "insert into list values (?, ?, ?, ?, ?)", [position, day, moment, number, number / 3]
        )
    kinds: list[tuple[str, Any]] = [
        ("day", "date"),
        ("moment", "timestamp"),
        ("number", "integer"),
        ("share", "rate"),
    ]
    file = tmp_path / "x.xlsx"
    write_xlsx(
        file,
        session=session,
        rows="list",
        sheet_name="名单",
        columns=[SheetColumn(column, column, kind, 10) for column, kind in kinds],
        about_name="说明",
        about=[],
        created=dt.datetime(2026, 6, 30),
        temp_folder=tmp_path,
    )
    sheet = openpyxl.load_workbook(file)["名单"]
    rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)]
    for row, day in zip(rows[:4], days[:4], strict=True):
        assert row[:2] == [dt.datetime.combine(day, dt.time()), dt.datetime.combine(day, dt.time(23, 59, 59))]
    assert rows[4][:2] == ["1899-12-31", "1899-12-31 23:59:59"]
    assert [row[2] for row in rows] == [10**15 - 1, str(10**15), str(-(10**15)), 0, 1]
    assert [row[3] for row in rows] == [number / 3 for number in numbers]
