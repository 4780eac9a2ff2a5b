"""A day of rfm_daily is replaced as a whole and no other day moves, also when everything is rebuilt."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.home import DBT_PROJECT_DIR, PROJECT_ROOT, Home
from tests.command import environment

Rows = list[tuple[Any, ...]]


class Warehouse:
    """A warehouse whose buyers are given instead of computed."""

    def __init__(self, home: Home) -> None:
        self.home = home
        home.create()
        self.run("seed", "--select", "rfm_cells", day=dt.date(2026, 1, 1))

    def run(self, *arguments: str, day: dt.date, succeeds: bool = True) -> None:
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
        assert (outcome.returncode == 0) is succeeds, outcome.stdout

    def build(self, day: dt.date, buyers: Rows, *more: str, succeeds: bool = True) -> None:
        with duckdb.connect(str(self.home.warehouse)) as connection:
            connection.execute("create schema if not exists intermediate")
            connection.execute(
                "create or replace table intermediate.int_rfm__scores "
                "(user_id varchar, cell varchar, monetary varchar)"
            )
            for row in buyers:
                connection.execute("insert into intermediate.int_rfm__scores values (?, ?, ?)", row)
        self.run("run", "--select", "rfm_daily", *more, day=day, succeeds=succeeds)

    def execute(self, statement: str) -> Rows:
        with duckdb.connect(str(self.home.warehouse)) as connection:
            return connection.execute(statement).fetchall()

    def rows(self) -> Rows:
        return self.execute(
            "select cast(as_of_date as varchar), user_id, cell from marts.rfm_daily order by 1, 2"
        )


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

    # What cannot be computed leaves the day as it was; a column that the table lacks is empty in the other days.
    warehouse.execute("alter table marts.rfm_daily drop column monetary")
    warehouse.build(second, [("e", value, "7"), ("f", value, "much")], succeeds=False)
    assert warehouse.rows() == day_two
    assert ("monetary",) not in warehouse.execute("select column_name from (describe marts.rfm_daily)")
    warehouse.build(first, [("e", value, "7")])
    assert warehouse.rows() == [("2026-01-01", "e", value), *day_two]
    assert warehouse.execute("select monetary from marts.rfm_daily order by user_id") == [
        *((None,), (None,)),
        (Decimal("7.0000"),),
    ]
