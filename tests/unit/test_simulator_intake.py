"""What the simulator plants against what the intake finds: nothing more is rejected, nothing is lost."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path

import duckdb

from orchestration.home import Home
from orchestration.ingestion.intake import take_in
from orchestration.ingestion.simulator import DEFAULT_END, simulate
from orchestration.settings import Settings


def test_rejected_are_exactly_the_broken_lines(tmp_path: Path) -> None:
    brand = simulate(tmp_path / "landing", users=500, days=14)
    home = Home(tmp_path / "home")
    result = take_in(
        home,
        Settings(),
        brand.landing,
        now=dt.datetime(2026, 7, 1, 4, tzinfo=dt.UTC),
        business_day=DEFAULT_END + dt.timedelta(days=1),
    )
    rejected, accepted, again = Counter[str](), Counter[str](), 0
    for file in result.files:
        rejected[file.table] += file.rejected
        accepted[file.table] += file.accepted
        again += file.status == "same_content_as"
        assert not file.extra_columns, file.path
    assert +rejected == brand.broken
    assert sum(brand.broken.values()) == brand.planted["broken_lines"] >= 5
    assert accepted == brand.rows
    assert again == brand.planted["repeated_files"]
    raw = f"read_parquet('{home.path}/raw/events/**/*.parquet', union_by_name=true)"
    events, distinct, anonymous, late = (
        duckdb.sql(f"""
        select count(event_id), count(distinct event_id), count(*) filter (id = 'anonymous'),
            count(distinct event_id) filter (first_arrived_on > business_day)
        from (select *, min(_arrived_on) over (partition by event_id) as first_arrived_on,
            cast(occurred_at + interval 8 hour as date) as business_day from {raw})
        """).fetchone()
        or ()
    )
    assert events - distinct == brand.planted["repeated_events"]
    assert anonymous >= brand.planted["anonymous_events"]
    assert late == brand.planted["late_events"]
