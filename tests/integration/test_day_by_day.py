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
BY_DATE = {"rfm_daily", "audience_history", "history_days"}
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


def _compare(shared_data: Path, tmp_path: Path, builds: int) -> None:
    files = sorted((shared_data / "online_retail").glob("*.csv"))
    assert len(files) == 305
    source, daily, at_once = tmp_path / "source", tmp_path / "daily", tmp_path / "at_once"
    for folder in (source, daily, at_once):
        folder.mkdir()
    Home(daily).create()
    Home(daily).secret_key()
    shutil.copyfile(daily / "secret.key", at_once / "secret.key")

    build_on = {files[round(index * (len(files) - 1) / (builds - 1))].stem for index in range(builds)}
    assert len(build_on) == builds
    for file in files:
        shutil.copyfile(file, source / file.name)
        settings = _take_in(Home(daily), source)
        if file.stem in build_on:
            _build(Home(daily), settings, dt.date.fromisoformat(file.stem))
    _run(daily, source, LAST)
    _run(at_once, shared_data / "online_retail", LAST)

    ours, theirs = marts(daily), marts(at_once)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - BY_DATE:
        assert ours[name] == theirs[name], name
    of_the_day = "select * from {} where as_of_date = date '{}' order by all"
    for name in sorted(BY_DATE):
        assert ask(daily, of_the_day.format(name, LAST)) == ask(at_once, of_the_day.format(name, LAST)), name

    # A day that is back-filled later is what it was when it was built.
    past = sorted(build_on)[builds // 2]
    _run(at_once, shared_data / "online_retail", past)
    for name in ("rfm_daily", "audience_history"):
        rows = ask(daily, of_the_day.format(name, past))
        assert rows
        assert ask(at_once, of_the_day.format(name, past)) == rows, name


def test_with_a_full_build_on_twelve_days(shared_data: Path, tmp_path: Path) -> None:
    _compare(shared_data, tmp_path, 12)


@pytest.mark.long
def test_with_a_full_build_on_every_day(shared_data: Path, tmp_path: Path) -> None:
    # Some hours; JINGXI_TEST_BUILD_DAYS builds on fewer days, evenly spread.
    _compare(shared_data, tmp_path, int(os.environ.get("JINGXI_TEST_BUILD_DAYS", "305")))
