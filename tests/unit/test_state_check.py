"""The comparison of the running state with a rebuild: what differs, for how many users, and no word about who."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pytest

from orchestration.errors import BuildError
from orchestration.home import Home
from orchestration.settings import load_settings
from orchestration.warehouse.state_check import check_state, compare

DAY = dt.date(2026, 6, 30)
ROWS = [("u1", 3, None), ("u2", 1, "app"), ("u3", 0, None)]


def warehouse(path: Path, rows: list[tuple[str, int, str | None]]) -> Home:
    home = Home(path)
    home.create()
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("create schema marts")
        connection.execute(
            "create table marts.user_wide (user_id varchar, active_days_30d bigint, top_channel varchar)"
        )
        connection.executemany("insert into marts.user_wide values (?, ?, ?)", rows)
    return home


def test_equal_tables_in_any_order(tmp_path: Path) -> None:
    held, rebuilt = warehouse(tmp_path / "a", ROWS), warehouse(tmp_path / "b", ROWS[::-1])
    outcome = compare(held, rebuilt, DAY)
    assert outcome.is_equal
    assert (outcome.compared, outcome.columns) == (3, {})
    assert "equals its rebuild" in str(outcome)


def test_differences_are_named_by_column_and_number(tmp_path: Path) -> None:
    held = warehouse(tmp_path / "a", ROWS)
    rebuilt = warehouse(tmp_path / "b", [("u1", 3, "web"), ("u2", 2, None), ("u4", 9, None)])
    outcome = compare(held, rebuilt, DAY)
    assert not outcome.is_equal
    assert outcome.columns == {"active_days_30d": 1, "top_channel": 2}
    assert (outcome.compared, outcome.users, outcome.only_held, outcome.only_rebuilt) == (4, 4, 1, 1)
    assert "active_days_30d (1), top_channel (2)" in str(outcome)
    assert not any(user in str(outcome) for user in ("u1", "u2", "u3", "u4"))


Running = tuple[str | None, int, str, str | None]
RUNNING = (
    "create table intermediate.counts (owner_key varchar, seen bigint, changed_on date, removed_on date)"
)


def running(path: Path, rows: list[Running]) -> Home:
    home = warehouse(path, ROWS)
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("create table running_models as select 'counts' as model")
        connection.execute("create schema intermediate")
        connection.execute(RUNNING)
        connection.executemany("insert into intermediate.counts values (?, ?, ?, ?)", rows)
    return home


def test_running_models_are_equal_however_they_came_to_hold_their_rows(tmp_path: Path) -> None:
    rows: list[Running] = [("a", 1, "2026-06-01", None), ("b", 2, "2026-06-02", None)]
    gone: list[Running] = [("c", 3, "2026-06-02", "2026-06-03"), (None, 1, "2026-06-02", None)]
    rebuilt: list[Running] = [("b", 2, "2026-06-30", None), ("a", 1, "2026-06-30", None)]
    outcome = compare(running(tmp_path / "a", [*rows, *gone]), running(tmp_path / "b", rebuilt), DAY)
    assert outcome.is_equal
    assert outcome.models == {}


@pytest.mark.parametrize(
    ("rows", "apart"),
    [
        ([("a", 1, "2026-06-01", None)], 1),
        ([("a", 1, "2026-06-01", None), ("b", 3, "2026-06-01", None)], 2),
        ([("a", 1, "2026-06-01", None), ("b", 2, "2026-06-01", None), ("b", 2, "2026-06-01", None)], 1),
        ([("a", 1, "2026-06-01", None), ("b", 2, "2026-06-01", "2026-06-02")], 1),
    ],
)
def test_a_wrong_row_of_a_running_model_that_no_user_shows_yet_is_found(
    tmp_path: Path, rows: list[Running], apart: int
) -> None:
    rebuilt = running(tmp_path / "b", [("a", 1, "2026-06-30", None), ("b", 2, "2026-06-30", None)])
    outcome = compare(running(tmp_path / "a", rows), rebuilt, DAY)
    assert not outcome.is_equal
    assert (outcome.users, outcome.models) == (0, {"counts": apart})
    assert f"counts ({apart})" in str(outcome)


def test_a_home_without_a_whole_day_has_nothing_to_compare(tmp_path: Path) -> None:
    home = warehouse(tmp_path / "a", ROWS)
    settings, _ = load_settings(home)
    with pytest.raises(BuildError, match="holds no day in full"):
        check_state(home, settings)
