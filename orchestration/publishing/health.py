"""What the mart data_health says about the input of one business day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.publishing import database

CHECKS = {
    "freshness": "Days since the last arrival, against the declared days or the table's own rhythm.",
    "volume": "Rows that arrived on the day, against the same weekday of the weeks before.",
    "null_share": "Share of empty values in each column of the latest batch, against earlier batches.",
    "rejects": "Share of refused records in the latest batch, against earlier batches.",
}
"""Checks of every table."""
UNKNOWN_TAGS = "unknown_tags"
"""Check of manual_tags alone: rows that name a tag which no spec declares by_hand."""
UNUSUAL = ("warn", "fail")


@dataclass(frozen=True)
class HealthFinding:
    """One row of data_health."""

    table: str
    check: str
    status: str
    sentence: str
    since: dt.date | None
    measured: float | None
    expected_low: float | None
    expected_high: float | None
    is_blocking: bool

    @property
    def is_unusual(self) -> bool:
        """Whether it warns or fails."""
        return self.status in UNUSUAL

    @property
    def blocks(self) -> bool:
        """Whether it keeps the day from being published."""
        return self.is_blocking and self.status == "fail"

    def said(self) -> str:
        """The sentence with since when."""
        return f"{self.sentence.removesuffix('.')}, since {self.since}." if self.since else self.sentence


def read_health(file: Path, schema: str) -> tuple[dt.date | None, list[HealthFinding]]:
    """The day that data_health speaks of and its rows, the worst first; no day and no rows when the file has no such
    table. Raises duckdb.Error when the file cannot be read."""
    if not file.exists():
        return None, []
    with duckdb.connect(":memory:") as session:
        database.attach(session, file, "source")
        has_table = session.execute(
            "select 1 from duckdb_tables() where database_name = 'source' and schema_name = ? and table_name = 'data_health'",
            [schema],
        ).fetchall()
        if not has_table:
            return None, []
        rows: list[Any] = session.execute(
            f"""
            select as_of_date, table_name, check_name, status, sentence, since_date, measured, expected_low,
                expected_high, is_blocking
            from source.{database.name(schema)}.data_health
            order by list_position(['fail', 'warn', 'ok', 'not_enough_history'], status), table_name, check_name
            """
        ).fetchall()
    return (rows[0][0] if rows else None), [HealthFinding(*row[1:]) for row in rows]


def in_short(counts: Mapping[str, int]) -> str:
    """How many checks are unusual, from the number of checks by status, in one line."""
    judged = sum(counts.get(status, 0) for status in (*UNUSUAL, "ok"))
    unheard = counts.get("not_enough_history", 0)
    later = f"; {unheard} have not enough history yet" if unheard else ""
    parts = [
        f"{counts[status]} {word}"
        for status, word in (("fail", "failed"), ("warn", "unusual"))
        if counts.get(status)
    ]
    if not parts:
        return f"nothing unusual in {judged} checks{later}"
    return f"{', '.join(parts)} of {judged} checks{later}"
