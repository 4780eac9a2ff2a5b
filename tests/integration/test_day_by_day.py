"""A year taken in day by day gives the same marts as the same year loaded at once."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.home import Home, Origin
from orchestration.ingestion.intake import take_in
from orchestration.ingestion.sources import bring
from orchestration.settings import Settings, load_settings
from orchestration.warehouse.project import dbt_args, dbt_environment, input_hash, run_dbt
from tests.command import REAL_SIZE, ask, jingxi, marts, take_parsed_of

pytestmark = pytest.mark.shared

LAST = "2011-12-10"
BY_DATE = {
    "rfm_daily",
    "audience_history",
    "audience_metrics",
    "audience_suppressions",
    "user_tag_history",
    "history_days",
    "user_wide_daily",
}
OF_THE_DAY = "select * from {} where as_of_date = date '{}' order by all"


def _run(home: Path, source: Path, as_of: str) -> None:
    jingxi(
        "run", "--dataset", "online_retail", "--source", source, "--home", home, "--as-of", as_of, *REAL_SIZE
    )


def _take_in(home: Home, source: Path) -> Settings:
    settings, _ = load_settings(home, overrides=["history.days=1"])
    bring(Origin("online_retail", str(source)), home, settings)
    now = dt.datetime.now(dt.UTC)
    take_in(home, settings, home.landing, now=now, business_day=settings.business_day(now))
    Home(home.path).claim(Origin("online_retail", str(source)))
    return settings


def _build(home: Home, settings: Settings, as_of: dt.date) -> None:
    """All models for one day, as the job builds them; what is published is compared at the end."""
    environment = dbt_environment(home, settings, as_of, input_hash(home, settings, as_of))
    run_dbt(home, dbt_args("build", settings, tests=False), environment)


def _held(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the marts in the warehouse, sorted; of marts by date those of the last day."""
    with duckdb.connect(str(home / "warehouse" / "warehouse.duckdb"), read_only=True) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "select table_name from duckdb_tables() where schema_name = 'marts'"
            ).fetchall()
        ]
        return {
            name: connection.execute(
                OF_THE_DAY.format(f"marts.{name}", LAST)
                if name in BY_DATE
                else f"select * from marts.{name} order by all"
            ).fetchall()
            for name in sorted(names)
        }


def _compare(
    shared_data: Path, tmp_path: Path, at_once: Path, builds: int, *, each_alone: bool
) -> list[dt.date]:
    """Build day by day in tmp_path/daily, compare with the home built at once, return the days built.

    `builds`: days on which everything is built, the last day among them. `each_alone`: every file is taken in by
    itself, otherwise with those that came since the last build.
    """
    files = sorted((shared_data / "online_retail").glob("*.csv"))
    assert len(files) == 305
    source, daily = tmp_path / "source", tmp_path / "daily"
    source.mkdir()
    Home(daily).create()
    shutil.copyfile(at_once / "secret.key", daily / "secret.key")
    take_parsed_of(daily, at_once)

    # What the last file says is known on the day after it.
    day_of = {file: dt.date.fromisoformat(file.stem) for file in files[:-1]} | {
        files[-1]: dt.date.fromisoformat(LAST)
    }
    build_on = {day_of[files[round(index * (len(files) - 1) / (builds - 1))]] for index in range(builds)}
    assert len(build_on) == builds
    for file in files:
        shutil.copyfile(file, source / file.name)
        if each_alone or day_of[file] in build_on:
            settings = _take_in(Home(daily), source)
        if day_of[file] in build_on:
            _build(Home(daily), settings, day_of[file])

    ours, theirs = _held(daily), _held(at_once)
    assert ours.keys() == theirs.keys() >= BY_DATE
    assert sum(map(bool, ours.values())) > 20
    for name in ours:
        assert ours[name] == theirs[name], name
    return sorted(build_on)


def test_with_a_full_build_on_three_days(online_retail_home: Path, shared_data: Path, tmp_path: Path) -> None:
    _compare(shared_data, tmp_path, online_retail_home, 3, each_alone=False)


@pytest.mark.long
def test_with_every_file_alone_and_a_full_build_every_ten_days(
    online_retail_home: Path, shared_data: Path, tmp_path: Path
) -> None:
    # JINGXI_TEST_BUILD_DAYS=305 builds on every day, which takes hours.
    builds = int(os.environ.get("JINGXI_TEST_BUILD_DAYS", "31"))
    days = _compare(shared_data, tmp_path, online_retail_home, builds, each_alone=True)
    source, daily = tmp_path / "source", tmp_path / "daily"
    _run(daily, source, LAST)
    published, expected = marts(daily), marts(online_retail_home)
    assert published.keys() == expected.keys()
    for name in published.keys() - BY_DATE:
        assert published[name] == expected[name], name

    # A day that is back-filled later is what it was when it was built.
    past = days[len(days) // 2].isoformat()
    at_once = shutil.copytree(online_retail_home, tmp_path / "at_once")
    _run(at_once, source, past)
    for name in ("rfm_daily", "audience_history", "audience_metrics", "audience_suppressions"):
        rows = ask(daily, OF_THE_DAY.format(name, past))
        assert rows
        assert ask(at_once, OF_THE_DAY.format(name, past)) == rows, name
