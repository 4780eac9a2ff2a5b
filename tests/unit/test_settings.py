from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from orchestration.errors import UsageError
from orchestration.home import Home
from orchestration.settings import ENVIRONMENT_PREFIX, Settings, load_settings, setting_names


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _write(home: Home, text: str) -> None:
    home.path.mkdir(parents=True, exist_ok=True)
    home.settings_file.write_text(text, encoding="utf-8")


def test_flag_wins_over_environment_over_file_over_default(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(home)[0].rfm.frequency == "days"
    _write(home, "rfm: {frequency: orders, monetary: gross, split: median}\n")
    monkeypatch.setenv(f"{ENVIRONMENT_PREFIX}RFM__MONETARY", "net")
    monkeypatch.setenv(f"{ENVIRONMENT_PREFIX}RFM__SPLIT", "fixed")
    settings, sources = load_settings(home, overrides=["rfm.split=raw_mean"])
    assert (settings.rfm.frequency, settings.rfm.monetary, settings.rfm.split) == (
        "orders",
        "net",
        "raw_mean",
    )
    assert sources["rfm.frequency"] == "file"
    assert sources["rfm.monetary"] == "environment"
    assert sources["rfm.split"] == "flag"
    assert sources["rfm.scoring"] == "default"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("rfm.frequenzy=orders", ["rfm.frequenzy", "Did you mean 'rfm.frequency'"]),
        ("rfm.frequency=weekly", ["rfm.frequency", "days", "orders"]),
        ("rfm.frequency", ["name=value"]),
        ("rfm.recency_bounds=[30, 20, 60, 90]", ["must rise"]),
        ("business_timezone=Mars/Olympus", ["time zone"]),
        ("lifecycle.lost_days=10", ["greater than dormant_days"]),
    ],
)
def test_a_wrong_setting_is_explained(home: Home, override: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(home, overrides=[override])
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rfm: [1\n", ["line", "YAML"]),
        ("- rfm\n", ["names and values"]),
        ("rmf: {frequency: days}\n", ["jingxi.yml", "rmf.frequency", "rfm.frequency"]),
    ],
)
def test_a_wrong_settings_file_is_explained(home: Home, text: str, words: list[str]) -> None:
    _write(home, text)
    with pytest.raises(UsageError) as caught:
        load_settings(home)
    for word in words:
        assert word in str(caught.value)


def test_a_settings_file_that_was_named_must_exist(home: Home, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_settings(home, settings_file=tmp_path / "other.yml")


def test_business_day_turns_at_midnight_in_shanghai() -> None:
    settings = Settings()
    before = dt.datetime(2026, 6, 30, 15, 59, 59, tzinfo=dt.UTC)
    assert settings.business_day(before) == dt.date(2026, 6, 30)
    assert settings.business_day(before + dt.timedelta(seconds=1)) == dt.date(2026, 7, 1)


def test_fingerprint_follows_what_is_computed_only() -> None:
    usual = Settings()
    assert usual.fingerprint() != usual.model_copy(update={"business_timezone": "UTC"}).fingerprint()
    later = usual.model_copy(update={"schedule": usual.schedule.model_copy(update={"hour": 5})})
    assert usual.fingerprint() == later.fingerprint()


def test_every_setting_of_the_models_reaches_dbt() -> None:
    variables = Settings().dbt_vars()
    for name in setting_names():
        group, _, leaf = name.partition(".")
        if group in ("rfm", "lifecycle", "cycle", "best_time", "history"):
            assert f"{group}_{leaf}" in variables


def test_the_wide_table_is_kept_for_days_and_month_ends() -> None:
    kept = Settings.model_validate({"history": {"wide_days": 3, "wide_month_ends": 2}}).history.kept_wide_days
    days = [f"2026-{day}" for day in ("01-31", "02-28", "03-01", "03-02", "03-03")]
    assert [day.isoformat() for day in kept(dt.date(2026, 3, 3))] == days
    days = [f"2026-{day}" for day in ("01-31", "02-27", "02-28", "03-01")]
    assert [day.isoformat() for day in kept(dt.date(2026, 3, 1))] == days
    none = Settings.model_validate({"history": {"wide_days": 1, "wide_month_ends": 0}}).history
    assert none.kept_wide_days(dt.date(2026, 3, 1)) == [dt.date(2026, 3, 1)]


def test_late_rows_are_a_matter_of_arrival() -> None:
    day = dt.date(2026, 3, 1)
    usual = Settings()
    include = Settings.model_validate({"history": {"late_rows": "include"}})
    assert usual.history.known_until(day) == day
    assert include.history.known_until(day) == dt.date.max
    assert usual.fingerprint() != include.fingerprint()
