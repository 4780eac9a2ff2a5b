"""Small helpers of the intake tests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb

from orchestration.home import Home
from orchestration.ingestion.intake import IntakeResult, take_in
from orchestration.ingestion.registry import Registry
from orchestration.settings import Settings, load_settings

NOW = dt.datetime(2026, 3, 1, 4, 0, tzinfo=dt.UTC)
BUSINESS_DAY = dt.date(2026, 3, 1)
FAR = dt.date.max


class Place:
    """A home and a landing folder in a test's own folder."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.landing = folder / "landing"
        self.landing.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, content: str | bytes) -> Path:
        """Write a landing file."""
        file = self.landing / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def settings(self, *overrides: str) -> Settings:
        """Settings with `group.name=value` overrides."""
        return load_settings(self.home, overrides=overrides)[0]

    def take(
        self,
        *overrides: str,
        now: dt.datetime = NOW,
        business_day: dt.date = BUSINESS_DAY,
        quarantine: bool = False,
    ) -> IntakeResult:
        """One intake."""
        return take_in(
            self.home,
            self.settings(*overrides),
            self.landing,
            now=now,
            business_day=business_day,
            quarantine=quarantine,
        )

    def raw(self, table: str, columns: str, as_of: dt.date = FAR) -> list[tuple[Any, ...]]:
        """Visible raw rows of a table, in order of arrival and record."""
        files = [str(file) for file in Registry(self.home).visible_files(as_of).get(table, [])]
        if not files:
            return []
        return duckdb.execute(
            f"select {columns} from read_parquet(?, hive_partitioning = false) order by _arrived_on, _taken_in_at, _record",
            [files],
        ).fetchall()

    def rejects(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        """Rejected records of a table, in order of file and record."""
        files = [str(file) for file in (self.home.rejected / table).glob("*.parquet")]
        if not files:
            return []
        return duckdb.execute(
            f"select {columns} from read_parquet(?) order by file, record", [files]
        ).fetchall()

    def raw_files(self) -> set[str]:
        """Raw files on disk, relative to the home."""
        return {file.relative_to(self.home.path).as_posix() for file in self.home.raw.rglob("*.parquet")}
