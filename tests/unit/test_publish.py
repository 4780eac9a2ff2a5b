"""Publishing: what readers get, what stays, what is refused."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pytest

from orchestration.errors import PublishError
from orchestration.home import Home
from orchestration.publishing.publication import read_publication
from orchestration.publishing.publish import PublishResult, publish, published_as, verify_published
from orchestration.settings import Settings

NOW = dt.datetime(2026, 7, 1, 2, 0, tzinfo=dt.UTC)
DAY = dt.date(2026, 6, 30)
BY_DATE = {"rfm_daily": "as_of_date"}
DDL = """
create schema if not exists marts;
create schema if not exists private;
create schema if not exists staging;
create or replace table staging.stg_raw__members (phone varchar);
create or replace table marts.user_wide (
    user_id varchar not null, "gross, amount" decimal(18, 4) default 0, is_member boolean not null,
    styles varchar[], last_cart_at timestamp, check ("gross, amount" >= 0)
);
comment on table marts.user_wide is 'One row per user''s wide facts.';
comment on column marts.user_wide."gross, amount" is 'Money; in CNY';
create or replace table marts."odd(name" (a integer);
create table if not exists marts.rfm_daily (user_id varchar not null, as_of_date date not null, cell varchar);
create or replace table private.user_identifiers (user_id varchar not null, id_type varchar not null, id varchar not null);
insert into private.user_identifiers values
    ('u1', 'phone', '13800000001'), ('u2', 'phone', '13800000002'), ('u1', 'email', 'a@example.com'), ('u1', 'lead_id', 'lead-00001');
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def build(
    home: Home, *, users: int = 3, days: Mapping[dt.date, str] | None = None, marker: str = "v"
) -> None:
    """A warehouse as a build would leave it; `days` replaces rows of rfm_daily per day by one row with a cell."""
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute(DDL)
        connection.execute(
            "insert into marts.user_wide select 'u' || (? - i), i * 1.5, i % 2 = 0, [?, 'b'], "
            "timestamp '2026-06-30 10:00:00' from range(?) as t(i)",
            [users, marker, users],
        )
        for day, cell in (days if days is not None else {DAY: marker}).items():
            connection.execute("delete from marts.rfm_daily where as_of_date = ?", [day])
            connection.execute("insert into marts.rfm_daily values ('u1', ?, ?)", [day, cell])


def put(
    home: Home, as_of: dt.date = DAY, input_hash: str = "h1", *, now: dt.datetime = NOW, **options: object
) -> PublishResult:
    return publish(
        home,
        Settings.model_validate({}),
        as_of=as_of,
        input_hash=input_hash,
        by_date=BY_DATE,
        now=now,
        **options,  # type: ignore[arg-type]
    )


def read(file: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"attach '{file}' as published (read_only)")
        connection.execute("use published")
        return connection.execute(sql).fetchall()


def daily(home: Home) -> dict[dt.date, str]:
    return dict(read(home.marts, "select as_of_date, cell from rfm_daily order by 1"))  # type: ignore[arg-type]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.stat().st_ino)
        for file in folder.rglob("*")
    }


def test_publishes_marts_private_parquet_and_manifest(home: Home) -> None:
    build(home)
    result = put(home)
    assert not result.unchanged
    assert result.marts == {"odd(name": 0, "publication": 1, "rfm_daily": 1, "user_wide": 3}
    assert published_as(home) == (result.as_of, "h1") == (DAY, "h1")
    row = (result.version, DAY, "h1", NOW.replace(tzinfo=None))
    assert read(home.marts, "from publication") == [row]
    assert read(home.private_marts, "from publication") == [row]
    assert home.private_marts.stat().st_mode & 0o777 == 0o600
    assert home.marts.stat().st_mode & 0o777 == 0o644
    manifest = json.loads(home.publication_manifest.read_text())
    assert manifest["version"] == result.version
    assert (manifest["as_of_date"], manifest["input_hash"]) == ("2026-06-30", "h1")
    assert manifest["published_at"] == "2026-07-01T02:00:00.000000Z"
    assert manifest["kept_versions"] == [result.version]
    for mart in manifest["marts"]:
        file = home.published / mart["parquet"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == mart["sha256"]
        assert duckdb.sql(f"select count(*) from '{file}'").fetchall() == [(mart["rows"],)]
    assert {path.name for path in home.published.iterdir()} == {
        "marts.duckdb",
        "private.duckdb",
        "parquet",
        "manifest.json",
    }


def test_definitions_constraints_and_comments_travel(home: Home) -> None:
    build(home)
    put(home)
    tables = read(
        home.marts, "select schema_name, table_name, comment from duckdb_tables() order by table_name"
    )
    assert [row[:2] for row in tables] == [
        ("main", "odd(name"),
        ("main", "publication"),
        ("main", "rfm_daily"),
        ("main", "user_wide"),
    ]
    assert tables[3][2] == "One row per user's wide facts."
    columns = read(
        home.marts,
        "select column_name, data_type, is_nullable, column_default, comment from duckdb_columns() "
        "where table_name = 'user_wide' order by column_index",
    )
    assert columns[0] == ("user_id", "VARCHAR", False, None, None)
    assert columns[1] == ("gross, amount", "DECIMAL(18,4)", True, "0", "Money; in CNY")
    assert [row[1] for row in columns[2:]] == ["BOOLEAN", "VARCHAR[]", "TIMESTAMP"]
    checks = read(
        home.marts,
        "select constraint_type from duckdb_constraints() where table_name = 'user_wide' and constraint_type = 'CHECK'",
    )
    assert checks == [("CHECK",)]
    assert read(home.marts, "select user_id from user_wide limit 2") == [("u1",), ("u2",)]


def test_only_the_marts_schema_is_readable(home: Home) -> None:
    build(home)
    put(home)
    assert read(home.marts, "select distinct schema_name from duckdb_tables()") == [("main",)]
    assert not read(home.marts, "select 1 from duckdb_tables() where table_name like 'stg%'")
    assert read(home.private_marts, "select table_name from duckdb_tables() order by 1") == [
        ("publication",),
        ("user_identifiers",),
    ]


def test_same_input_and_day_leaves_every_file_untouched(home: Home) -> None:
    build(home)
    first = put(home)
    before = snapshot(home.published)
    again = put(home, now=NOW + dt.timedelta(hours=1))
    assert (again.unchanged, again.version) == (True, first.version)
    assert again.files == first.files
    assert snapshot(home.published) == before


@pytest.mark.parametrize("damage", ["parquet", "private", "manifest", "marts"])
def test_damaged_publication_is_made_again(home: Home, damage: str) -> None:
    build(home)
    first = put(home)
    victim = {
        "parquet": home.published / first.files[0].parquet,
        "private": home.private_marts,
        "manifest": home.publication_manifest,
        "marts": home.marts,
    }[damage]
    assert verify_published(home) == []
    victim.unlink()
    assert [str(victim) in problem for problem in verify_published(home)] == [True]
    again = put(home)
    assert not again.unchanged
    assert again.version > first.version
    assert put(home).unchanged


def test_parquet_bytes_follow_from_the_rows_only(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.create()
    build(home, users=5_000)
    build(other, users=5_000)
    with duckdb.connect(str(other.warehouse)) as connection:
        connection.execute(
            "create or replace table shuffled as from marts.user_wide order by hash(user_id); "
            "delete from marts.user_wide; insert into marts.user_wide from shuffled"
        )
    mine = {mart.name: mart.sha256 for mart in put(home).files}
    theirs = {
        mart.name: mart.sha256
        for mart in publish(
            other,
            Settings.model_validate({"engine": {"threads": 1}}),
            as_of=DAY,
            input_hash="h1",
            by_date=BY_DATE,
            now=NOW + dt.timedelta(days=1),
        ).files
    }
    assert mine.pop("publication") != theirs.pop("publication")
    assert mine == theirs


def test_version_sorts_after_the_last_one_when_the_clock_went_back(home: Home) -> None:
    build(home)
    versions = [put(home, input_hash=f"h{i}", now=NOW - dt.timedelta(hours=i)).version for i in range(4)]
    assert versions == sorted(set(versions))


def test_old_parquet_versions_and_leftovers_are_removed(home: Home) -> None:
    build(home)
    results = [
        put(home, input_hash=f"h{i}", now=NOW + dt.timedelta(hours=i), keep_versions=2) for i in range(3)
    ]
    assert results[2].removed_versions == (results[0].version,)
    folder = home.published / "parquet"
    assert {path.name for path in folder.iterdir()} == {results[1].version, results[2].version}
    (folder / "20260101T000000000000Z").mkdir()
    (home.published / "build.part").mkdir()
    (home.published / "build.part" / "marts.duckdb").write_text("half")
    (home.published / "manifest.json.part").write_text("{")
    (home.published / "marts.duckdb.wal").write_bytes(b"stale")
    assert put(home, input_hash="h2").unchanged
    assert {path.name for path in folder.iterdir()} == {results[1].version, results[2].version}
    assert {path.name for path in home.published.iterdir()} == {
        "marts.duckdb",
        "private.duckdb",
        "parquet",
        "manifest.json",
    }


def test_stale_write_ahead_log_is_not_replayed(home: Home) -> None:
    build(home)
    put(home)
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("set wal_autocheckpoint = '1TB'; set disabled_optimizers = ''")
        connection.execute("pragma disable_checkpoint_on_shutdown")
        connection.execute("insert into marts.user_wide values ('u9', 1, true, [], null)")
    wal = home.warehouse.with_name("warehouse.duckdb.wal")
    stale = wal.read_bytes()
    home.marts.with_name("marts.duckdb.wal").write_bytes(stale)
    put(home, input_hash="h2")
    assert not home.marts.with_name("marts.duckdb.wal").exists()
    assert read(home.marts, "select count(*) from user_wide") == [(4,)]


D1, D2, D3 = (dt.date(2026, 6, day) for day in (28, 29, 30))


def test_earlier_day_fills_by_date_marts_and_moves_nothing_back(home: Home) -> None:
    build(home, days={D3: "d3"}, marker="new")
    put(home, D3, "h3")
    build(home, users=1, days={D1: "d1", D3: "rebuilt"}, marker="old")
    result = put(home, D1, "h1")
    assert (result.unchanged, result.is_backfill) == (False, True)
    assert (result.publication.as_of, result.publication.input_hash) == (D3, "h3")
    assert daily(home) == {D1: "d1", D3: "d3"}
    assert read(home.marts, "select count(*), min(styles[1]) from user_wide") == [(3, "new")]
    build(home, users=1, days={D1: "d1 again", D2: "d2"})
    assert not put(home, D1, "h1b").unchanged
    assert daily(home) == {D1: "d1 again", D2: "d2", D3: "d3"}
    before = snapshot(home.published)
    assert put(home, D1, "h1c").unchanged
    assert snapshot(home.published) == before
    assert put(home, D3, "h3").unchanged


def test_earlier_day_with_no_rows_now_takes_its_rows_away(home: Home) -> None:
    build(home, days={D1: "d1", D3: "d3"})
    put(home, D3)
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("delete from marts.rfm_daily where as_of_date = ?", [D1])
    put(home, D1, "h1b")
    assert daily(home) == {D3: "d3"}


def test_published_days_survive_a_warehouse_built_anew(home: Home) -> None:
    build(home, days={D1: "d1", D2: "d2"})
    put(home, D2)
    home.warehouse.unlink()
    build(home, days={D2: "d2 anew", D3: "d3"})
    put(home, D3, "h3")
    assert daily(home) == {D1: "d1", D2: "d2 anew", D3: "d3"}


def test_a_mart_that_keeps_some_days_drops_the_others_with_the_next_later_day(home: Home) -> None:
    build(home, days={D1: "d1", D2: "d2"})
    put(home, D2, kept={"rfm_daily": [D1, D2]})
    build(home, days={D3: "d3"})
    put(home, D3, "h3", kept={"rfm_daily": [D1, D3]})
    assert daily(home) == {D1: "d1", D3: "d3"}
    build(home, days={D2: "d2 again"})
    put(home, D2, "h2", kept={"rfm_daily": [D2]})
    assert daily(home) == {D1: "d1", D2: "d2 again", D3: "d3"}


def test_rows_after_the_published_day_stay_out(home: Home) -> None:
    build(home, days={D1: "d1", D3: "from a run that was not published"})
    put(home, D2)
    assert daily(home) == {D1: "d1"}


def test_new_column_of_a_by_date_mart_is_null_for_days_known_only_from_before(home: Home) -> None:
    build(home, days={D1: "d1"})
    put(home, D1)
    home.warehouse.unlink()
    build(home, days={D2: "d2"})
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("alter table marts.rfm_daily add column monetary decimal(18, 4)")
        connection.execute("update marts.rfm_daily set monetary = 7")
    put(home, D2, "h2")
    assert read(home.marts, "select cell, cast(monetary as integer) from rfm_daily order by 1") == [
        ("d1", None),
        ("d2", 7),
    ]


def test_missing_declared_mart_is_refused(home: Home) -> None:
    build(home)
    first = put(home)
    declared = {"marts": ["user_wide", "leads", "rfm_daily"], "private": ["user_identifiers"]}
    with pytest.raises(PublishError, match="does not hold leads as a table"):
        put(home, input_hash="h2", declared=declared)
    assert read_publication(home.marts) == first.publication


def test_undeclared_tables_of_the_warehouse_stay_private(home: Home) -> None:
    build(home)
    declared = {"marts": ["user_wide", "rfm_daily"], "private": ["user_identifiers"]}
    assert set(put(home, declared=declared).marts) == {"user_wide", "rfm_daily", "publication"}


def test_no_warehouse_and_empty_warehouse_are_refused(home: Home) -> None:
    with pytest.raises(PublishError, match="no warehouse"):
        put(home)
    duckdb.connect(str(home.warehouse)).close()
    with pytest.raises(PublishError, match="holds no marts"):
        put(home)
    assert list(home.published.iterdir()) == [home.published / "parquet"]


def test_unreadable_published_file_is_not_overwritten(home: Home) -> None:
    build(home)
    home.marts.write_bytes(b"no database" * 1000)
    with pytest.raises(PublishError, match="cannot be read as a published file"):
        put(home)
    assert home.marts.read_bytes() == b"no database" * 1000


def test_open_warehouse_in_this_process_is_named(home: Home) -> None:
    build(home)
    with (
        duckdb.connect(str(home.warehouse)),
        pytest.raises(PublishError, match="still has the file open"),
    ):
        put(home)


def test_broken_constraint_says_which_mart_and_no_value(home: Home) -> None:
    build(home, days={D1: "13800000001"})
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("alter table marts.rfm_daily drop column cell")
    put(home, D1)
    home.warehouse.unlink()
    build(home, days={D2: "13800000001"})
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("alter table marts.rfm_daily alter column cell set not null")
    with pytest.raises(PublishError, match="mart rfm_daily: a row breaks a NOT NULL") as raised:
        put(home, D2, "h2")
    assert "138" not in str(raised.value)
    assert daily_count(home) == 1


def daily_count(home: Home) -> object:
    return read(home.marts, "select count(*) from rfm_daily")[0][0]


def test_private_of_another_day_blocks_filling_an_earlier_one(home: Home, tmp_path: Path) -> None:
    build(home, days={D2: "d2"})
    put(home, D2)
    old_marts = home.marts.read_bytes()
    build(home, days={D3: "d3"})
    put(home, D3, "h3")
    home.marts.write_bytes(old_marts)  # As if killed between the two switches.
    build(home, days={D1: "d1"})
    with pytest.raises(PublishError, match="--as-of 2026-06-30"):
        put(home, D1, "h1")
    assert not put(home, D3, "h3").unchanged


def test_full_disk_leaves_the_old_version(home: Home) -> None:
    build(home)
    first = put(home)
    before = snapshot(home.published)
    build(home, users=200_000)
    script = (
        "import datetime as dt, resource, signal, sys\n"
        "from pathlib import Path\n"
        "from orchestration.errors import PublishError\n"
        "from orchestration.home import Home\n"
        "from orchestration.publishing.publish import publish\n"
        "from orchestration.settings import Settings\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (800_000, 800_000))\n"
        "try:\n"
        "    publish(Home(Path(sys.argv[1])), Settings.model_validate({}), as_of=dt.date(2026, 6, 30), input_hash='h2',\n"
        "            by_date={'rfm_daily': 'as_of_date'})\n"
        "except PublishError as error:\n"
        "    print(error)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(home.path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert "could not be published while writing" in done.stdout
    assert "The version published before stays" in done.stdout
    assert snapshot(home.published) == before
    assert read_publication(home.marts) == first.publication
    assert put(home, input_hash="h2").marts["user_wide"] == 200_000
