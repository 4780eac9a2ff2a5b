"""A year taken in day by day gives the same marts as the same year loaded at once."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path

import pytest

from orchestration.home import Home, Origin
from orchestration.ingestion.intake import take_in
from orchestration.ingestion.sources import bring
from orchestration.settings import Settings, load_settings
from orchestration.warehouse.project import dbt_args, dbt_environment, input_hash, run_dbt
from tests.command import ask, jingxi, marts

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
# One day of history: what is compared is the day that was built, not the days filled in before it.
SETTINGS = ("--set", "history.days=1")


def _run(home: Path, source: Path, as_of: str) -> None:
    jingxi(
        "run", "--dataset", "online_retail", "--source", source, "--home", home, "--as-of", as_of, *SETTINGS
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


def _compare(
    shared_data: Path, tmp_path: Path, at_once: Path, builds: int, *, each_alone: bool
) -> list[dt.date]:
    """Build day by day in tmp_path/daily, compare with the home built at once, return the days built.

    `each_alone`: every file is taken in by itself, otherwise with those that came since the last build.
    """
    files = sorted((shared_data / "online_retail").glob("*.csv"))
    assert len(files) == 305
    source, daily = tmp_path / "source", tmp_path / "daily"
    source.mkdir()
    Home(daily).create()
    shutil.copyfile(at_once / "secret.key", daily / "secret.key")

    build_on = {files[round(index * (len(files) - 1) / (builds - 1))].stem for index in range(builds)}
    assert len(build_on) == builds
    for file in files:
        shutil.copyfile(file, source / file.name)
        if each_alone or file.stem in build_on:
            settings = _take_in(Home(daily), source)
        if file.stem in build_on:
            _build(Home(daily), settings, dt.date.fromisoformat(file.stem))
    _run(daily, source, LAST)

    ours, theirs = marts(daily), marts(at_once)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - BY_DATE:
        assert ours[name] == theirs[name], name
    for name in sorted(BY_DATE):
        assert ask(daily, OF_THE_DAY.format(name, LAST)) == ask(at_once, OF_THE_DAY.format(name, LAST)), name
    return [dt.date.fromisoformat(day) for day in sorted(build_on)]


def test_with_a_full_build_on_three_days(online_retail_home: Path, shared_data: Path, tmp_path: Path) -> None:
    _compare(shared_data, tmp_path, online_retail_home, 3, each_alone=False)


@pytest.mark.long
def test_with_every_file_alone_and_a_full_build_every_ten_days(
    online_retail_home: Path, shared_data: Path, tmp_path: Path
) -> None:
    # JINGXI_TEST_BUILD_DAYS=305 builds on every day, which takes hours.
    builds = int(os.environ.get("JINGXI_TEST_BUILD_DAYS", "31"))
    days = _compare(shared_data, tmp_path, online_retail_home, builds, each_alone=True)

    # A day that is back-filled later is what it was when it was built.
    past = days[len(days) // 2].isoformat()
    at_once = shutil.copytree(online_retail_home, tmp_path / "at_once")
    _run(at_once, shared_data / "online_retail", past)
    for name in ("rfm_daily", "audience_history", "audience_metrics", "audience_suppressions"):
        rows = ask(tmp_path / "daily", OF_THE_DAY.format(name, past))
        assert rows
        assert ask(at_once, OF_THE_DAY.format(name, past)) == rows, name
