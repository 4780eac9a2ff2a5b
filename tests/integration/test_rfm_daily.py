"""A day of rfm_daily is replaced as a whole and no other day moves, also when everything is rebuilt."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from orchestration.home import DBT_PROJECT_DIR, PROJECT_ROOT, Home
from tests.command import environment

Rows = list[tuple[str, str, str]]


class Warehouse:
    """A warehouse whose buyers are given instead of computed."""

    def __init__(self, home: Home) -> None:
        self.home = home
        home.create()
        self.run("seed", "--select", "rfm_cells", day=dt.date(2026, 1, 1))

    def run(self, *arguments: str, day: dt.date) -> None:
        outcome = subprocess.run(
            [
                Path(sys.executable).with_name("dbt"),
                *arguments,
                *("--project-dir", DBT_PROJECT_DIR, "--profiles-dir", DBT_PROJECT_DIR),
                *("--target-path", self.home.dbt_target, "--log-path", self.home.logs),
            ],
            env=environment(
                JINGXI_HOME=str(self.home.path), JINGXI_AS_OF=day.isoformat(), PYTHONPATH=str(PROJECT_ROOT)
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stdout

    def build(self, day: dt.date, buyers: Rows, *more: str) -> None:
        with duckdb.connect(str(self.home.warehouse)) as connection:
            connection.execute("create schema if not exists intermediate")
            connection.execute(
                "create or replace table intermediate.int_rfm__scores "
                "(user_id varchar, cell varchar, monetary decimal(18, 4))"
            )
            for row in buyers:
                connection.execute("insert into intermediate.int_rfm__scores values (?, ?, ?)", row)
        self.run("run", "--select", "rfm_daily", *more, day=day)

    def rows(self) -> list[tuple[str, str, str]]:
        with duckdb.connect(str(self.home.warehouse), read_only=True) as connection:
            return connection.execute(
                "select cast(as_of_date as varchar), user_id, cell from marts.rfm_daily order by 1, 2"
            ).fetchall()


@pytest.mark.long
def test_days_are_replaced_whole_and_kept(tmp_path: Path) -> None:
    warehouse = Warehouse(Home(tmp_path / "home"))
    first, second = dt.date(2026, 1, 1), dt.date(2026, 1, 2)
    value, winback = "important_value", "general_winback"

    warehouse.build(first, [("a", value, "10"), ("b", winback, "1")])
    warehouse.build(second, [("a", winback, "10"), ("c", value, "5")])
    day_two = [("2026-01-02", "a", winback), ("2026-01-02", "c", value)]
    assert warehouse.rows() == [("2026-01-01", "a", value), ("2026-01-01", "b", winback), *day_two]

    warehouse.build(first, [("b", value, "2")])
    assert warehouse.rows() == [("2026-01-01", "b", value), *day_two]

    warehouse.build(first, [("d", value, "2")], "--full-refresh")
    assert warehouse.rows() == [("2026-01-01", "d", value), *day_two]

    warehouse.build(first, [])
    assert warehouse.rows() == day_two
