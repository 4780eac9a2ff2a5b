"""The main job as a stranger runs it: the real command, real files, a real warehouse."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import duckdb
import pytest

from tests.command import ask, jingxi, marts

AS_OF = "2026-06-30"
# As the README shows it.
BACK_FILL = "jingxi run --as-of 2026-06-20"
BY_DATE = {
    "rfm_daily",
    "audience_history",
    "audience_metrics",
    "audience_suppressions",
    "user_tag_history",
    "history_days",
    "user_wide_daily",
}


def _copy(home: Path, to: Path) -> Path:
    shutil.copytree(home, to, symlinks=True)
    return to


def _manifest(home: Path) -> str:
    return (home / "published" / "manifest.json").read_text()


def _audience_files(home: Path) -> dict[Path, bytes]:
    return {
        file.relative_to(home): file.read_bytes() for file in (home / "exports").rglob("*") if file.is_file()
    }


def test_everything_is_published(small_home: Path) -> None:
    tables = {row[0] for row in ask(small_home, "select table_name from duckdb_tables()")}
    assert {
        "user_wide",
        "user_tags",
        "rfm_segments",
        "rfm_daily",
        "funnel_metrics",
        "funnel_users",
        "leads",
        "audience_members",
        "publication",
        "user_identities",
    } <= tables
    for table in ("user_wide", "user_tags", "rfm_segments", "funnel_metrics", "audience_members", "leads"):
        assert ask(small_home, f"select count(*) > 0 from {table}") == [(True,)], table
    assert ask(small_home, "select as_of_date::varchar from publication") == [(AS_OF,)]
    width = ask(small_home, "select count(*) from duckdb_columns() where table_name = 'user_wide'")
    assert width[0][0] >= 60


def test_readers_may_name_the_catalogue(small_home: Path) -> None:
    assert ask(small_home, "select count(*) from marts.user_wide") == ask(
        small_home, "select count(*) from user_wide"
    )


def test_a_second_run_changes_nothing(small_home: Path, tmp_path: Path) -> None:
    home = _copy(small_home, tmp_path / "home")
    before = _manifest(home)
    outcome = jingxi("run", "--home", home, "--as-of", AS_OF, "--json")
    assert outcome.json["published"]["unchanged"] is True
    assert outcome.json["intake"] == {}
    assert _manifest(home) == before


def test_rejects_are_told_with_file_line_column_and_reason(small_home: Path) -> None:
    rejects = json.loads((small_home / "first_run.json").read_text())["rejects"]
    assert rejects
    for reject in rejects:
        assert reject["file"]
        assert reject["line"] >= 1
        assert reject["reason"]


def test_a_back_fill_adds_its_day_and_never_moves_the_published_one(small_home: Path, tmp_path: Path) -> None:
    home = _copy(small_home, tmp_path / "home")
    before = marts(home)
    jingxi(*shlex.split(BACK_FILL)[1:], "--home", home)
    after = marts(home)
    assert {name: rows for name, rows in after.items() if name not in BY_DATE} == {
        name: rows for name, rows in before.items() if name not in BY_DATE
    }
    for name in ("audience_metrics", "audience_suppressions"):
        assert before[name]
        held = {row[1] for row in before[name]}  # as_of_date
        assert [row for row in after[name] if row[1] in held] == before[name], name
    movements = "select count(*) filter (entered_count is null), count(*) from audience_metrics where as_of_date = '{}'"
    # The first day of the history has no day before it; the day that was asked for has one.
    (audiences,) = ask(home, "select count(*) from audience_definitions")[0]
    assert ask(home, movements.format("2026-06-19")) == [(audiences, audiences)]
    assert ask(home, movements.format("2026-06-20")) == [(0, audiences)]
    days = [row[0] for row in ask(home, "select distinct as_of_date::varchar from rfm_daily order by 1")]
    assert "2026-06-20" in days
    assert days[-1] == AS_OF
    jingxi("run", "--home", home, "--as-of", AS_OF)
    assert {name: rows for name, rows in marts(home).items() if name not in BY_DATE} == {
        name: rows for name, rows in before.items() if name not in BY_DATE
    }


def test_the_warehouse_can_be_rebuilt_from_raw(small_home: Path, tmp_path: Path) -> None:
    home = _copy(small_home, tmp_path / "home")
    before = marts(home)
    files = _audience_files(home)
    assert {name.suffix for name in files} == {".csv", ".xlsx", ".parquet", ".json"}
    shutil.rmtree(home / "exports")
    shutil.rmtree(home / "warehouse")
    shutil.rmtree(home / "landing", ignore_errors=True)
    (home / "landing").mkdir()
    # It was built with one thread of the engine: nothing may depend on the order in which several find rows.
    again = ("--full-refresh", "--set", "engine.threads=2")
    jingxi("run", "--home", home, "--as-of", AS_OF, "--landing", home / "landing", *again)
    assert marts(home) == before
    assert _audience_files(home) == files


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--as-of", "2126-01-01"], 2, ["2126-01-01", "future"]),
        (["--as-of", "yesterday"], 2, ["yesterday", "2026-06-30"]),
        (["--landing", "no/such/folder"], 2, ["no/such/folder", "does not exist"]),
        (["--dataset", "online_retial"], 2, ["online_retial", "online_retail"]),
        (["--dataset", "online_retail"], 2, ["holds the dataset", "--home"]),
        (["--dataset", "sample", "--landing", "x"], 2, ["exclude each other"]),
        (["--set", "rfm.frequency=weekly"], 2, ["rfm.frequency"]),
        (["--set", "business_timezone=UTC"], 2, ["business_timezone", "Asia/Shanghai", "--home"]),
    ],
)
def test_wrong_use_is_one_sentence(
    small_home: Path, arguments: list[str], status: int, words: list[str]
) -> None:
    before = _manifest(small_home)
    outcome = jingxi("run", "--home", small_home, *arguments, status=status)
    for word in words:
        assert word in outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    assert len(outcome.err.strip().splitlines()) == 1
    assert _manifest(small_home) == before


@pytest.mark.parametrize("arrives", ["2026-07-01", pytest.param(AS_OF, marks=pytest.mark.long)])
def test_bad_files_build_nothing_and_lose_nothing(small_home: Path, tmp_path: Path, arrives: str) -> None:
    home = _copy(small_home, tmp_path / "home")
    landing = tmp_path / "landing"
    files = {
        f"orders/dt={arrives}/good.csv": b"order_id,ordered_at,amount\ngood-1,2026-06-30 10:00:00,5\n",
        f"events/dt={arrives}/truncated.parquet": b"PAR1 and then nothing",
        f"orders/dt={arrives}/short.csv": b"order_id,amount\n1,2\n",
        f"orders/dt={arrives}/typed.csv": b"order_id,ordered_at,amount\n"
        + b"".join(b"x%d,2026-06-30 10:00:00,%s\n" % (i, b"much" if i % 2 else b"5") for i in range(100)),
    }
    for name, content in files.items():
        (landing / name).parent.mkdir(parents=True, exist_ok=True)
        (landing / name).write_bytes(content)
    before = _manifest(home)
    outcome = jingxi("run", "--home", home, "--landing", landing, "--as-of", AS_OF, status=1)
    for words in (("truncated.parquet",), ("short.csv", "ordered_at"), ("typed.csv", "amount")):
        for word in words:
            assert word in outcome.err
    assert "good.csv" not in outcome.err
    assert "Traceback" not in outcome.err
    assert _manifest(home) == before
    outcome = jingxi("run", "--home", home, "--landing", landing, "--as-of", AS_OF, "--quarantine", "--json")
    assert outcome.json["intake"]["orders"]["accepted"] == 1
    assert outcome.json["intake"]["orders"]["set aside"] == 2
    raw = f"select order_id from read_parquet('{home}/raw/orders/{arrives}/*.parquet') where order_id like 'good%'"
    with duckdb.connect() as connection:
        assert connection.execute(raw).fetchall() == [("good-1",)]
    # What arrives on a later day is taken in, and does not count yet.
    assert (_manifest(home) != before) == (arrives == AS_OF)
