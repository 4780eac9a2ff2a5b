"""The days that user_wide_daily keeps are the same in SQL and in Python."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import jinja2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestration.settings import Settings

MACROS = Path(__file__).parents[2] / "dbt_project" / "macros"


def expired(variables: dict[str, Any]) -> str:
    """SQL of the condition that a day is kept no longer, for DuckDB."""

    class Adapter:
        module: Any = None

        def dispatch(self, name: str) -> Any:
            return getattr(self.module, f"duckdb__{name}")

    adapter = Adapter()
    environment = jinja2.Environment(autoescape=False)
    environment.globals.update(adapter=adapter, var=variables.__getitem__, **{"return": lambda value: value})
    text = "".join((MACROS / f"{name}.sql").read_text() for name in ("as_of", "add_days", "wide_day_expired"))
    adapter.module = environment.from_string(text).module
    environment.globals.update(as_of=adapter.module.as_of, add_days=adapter.module.add_days)
    return str(environment.from_string(text + "{{ wide_day_expired('day', 'days') }}").render())


@settings(max_examples=60, deadline=None)
@given(st.dates(dt.date(2023, 1, 1), dt.date(2026, 12, 31)), st.integers(1, 40), st.integers(0, 30))
@example(dt.date(2024, 2, 29), 1, 12)
@example(dt.date(2026, 1, 1), 1, 1)
def test_the_same_days_are_kept(as_of: dt.date, wide_days: int, month_ends: int) -> None:
    history = Settings.model_validate(
        {"history": {"wide_days": wide_days, "wide_month_ends": month_ends}}
    ).history
    condition = expired({"history_wide_days": wide_days, "history_wide_month_ends": month_ends})
    with duckdb.connect() as connection:
        connection.execute(f"set variable as_of = date '{as_of}'")
        connection.execute(
            f"create table days as select cast(day as date) as day "
            f"from range(date '2019-12-01', date '{as_of}' + 1, interval 1 day) as range(day)"
        )
        connection.execute(f"delete from days where {condition}")
        kept = [day for (day,) in connection.execute("select day from days order by day").fetchall()]
        assert kept == history.kept_wide_days(as_of)
        # A day that is filled in afterwards drops nothing.
        connection.execute("insert into days select date '2019-12-01'")
        connection.execute(f"set variable as_of = date '{as_of - dt.timedelta(days=1)}'")
        connection.execute(f"delete from days where {condition}")
        assert connection.execute("select count(*) from days").fetchone() == (len(kept) + 1,)
