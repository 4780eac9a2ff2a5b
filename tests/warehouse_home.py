"""A home whose raw rows are written by the test, and the real dbt project run on it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.home import DBT_PROJECT_DIR, Home
from orchestration.ingestion.contracts import TABLES_BY_NAME
from orchestration.ingestion.registry import FileEntry, RawFile, Registry, raw_columns, storage_type
from orchestration.settings import Settings, load_settings
from orchestration.warehouse.quick_dbt import make_quick
from orchestration.warehouse.state_day import moving_to

Row = Mapping[str, Any]

_PARSED = Path(__file__).parents[1] / ".pytest_cache" / "parsed"


def _kept(variables: str) -> Path:
    """Where all workers, and later runs, find what dbt has parsed with these variables: worth ten seconds. dbt itself
    sees which files have changed since."""
    key = hashlib.sha256(f"{DBT_PROJECT_DIR} {variables}".encode()).hexdigest()[:16]
    return _PARSED / f"{key}.msgpack"


class WarehouseHome:
    """Raw files in, dbt, rows out."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.home.create()
        self._files = len(Registry(self.home).raw_paths())

    def arrive(self, table: str, rows: Sequence[Row], on: str, *, path: str | None = None) -> None:
        """One raw file of a table that arrives on a day, as if taken in from the landing file `path`."""
        self._files += 1
        day = dt.date.fromisoformat(on)
        taken_in_at = dt.datetime.combine(day, dt.time(12)) + dt.timedelta(seconds=self._files)
        file_id = hashlib.sha256(f"{table} {on} {sorted(map(repr, rows))} {path}".encode()).hexdigest()
        columns = raw_columns(TABLES_BY_NAME[table])
        unknown = {name for row in rows for name in row} - {column.name for column in columns}
        assert not unknown, f"{table} has no columns {unknown}"
        relative = Path("raw") / table / on / f"{file_id}.parquet"
        file = self.home.path / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            declared = ", ".join(f'"{column.name}" {storage_type(column)}' for column in columns)
            connection.execute(f"create table raw ({declared})")
            for number, row in enumerate(rows, start=1):
                added = {
                    "_file_id": file_id,
                    "_record": number,
                    "_arrived_on": day,
                    "_taken_in_at": taken_in_at,
                }
                values = {"properties": "{}", **row, **added}
                connection.execute(
                    f"insert into raw values ({', '.join('?' * len(columns))})",
                    [values.get(column.name) for column in columns],
                )
            connection.execute(f"copy raw to '{file}' (format parquet)")
        entry = FileEntry(
            table=table,
            path=path or f"{table}/{on}/{self._files}.csv",
            content_hash=file_id,
            status="taken",
            reason=None,
            format="csv",
            records=len(rows),
            accepted=len(rows),
            rejected=0,
            arrived_on=day,
            taken_in_at=taken_in_at,
            raw_files=(RawFile(str(relative), day, len(rows)),),
        )
        Registry(self.home).commit([entry], {})

    def advance(self, as_of: str, *select: str, tests: bool = True) -> str | None:
        """Build models as a run does: from the day the warehouse holds where that is allowed; returns that day."""
        settings, _ = load_settings(self.home)
        with moving_to(self.home, settings, dt.date.fromisoformat(as_of)) as since:
            self.build(as_of, *select, since=since, tests=tests)
        return since.isoformat() if since else None

    def build(
        self,
        as_of: str,
        *select: str,
        since: dt.date | None = None,
        settings: Settings | None = None,
        tests: bool = True,
    ) -> None:
        """Build models and run the data tests that read only them and what they need."""
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        folders = ["--project-dir", DBT_PROJECT_DIR, "--profiles-dir", DBT_PROJECT_DIR]
        folders += ["--target-path", self.home.dbt_target, "--log-path", self.home.logs]
        choice = [
            "--select",
            *select,
            "--exclude-resource-type",
            "unit_test",
            "--indirect-selection",
            "buildable",
            # Half of what a call costs that builds little; nobody reads them here.
            "--no-write-json",
        ]
        if not tests:
            choice += ["--exclude-resource-type", "test"]
        known_until, variables = "", ""
        if settings is not None:
            variables = json.dumps(settings.dbt_vars(), sort_keys=True)
            choice += ["--vars", variables]
            known_until = settings.history.known_until(dt.date.fromisoformat(as_of)).isoformat()
        make_quick()
        parsed, kept = self.home.dbt_target / "partial_parse.msgpack", _kept(variables)
        if not parsed.exists() and kept.exists():
            parsed.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(kept, parsed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JINGXI_HOME", str(self.home.path))
            patch.setenv("DBT_LOG_LEVEL_FILE", "info")
            patch.setenv("JINGXI_AS_OF", as_of)
            patch.setenv("JINGXI_KNOWN_UNTIL", known_until)
            patch.setenv("JINGXI_SINCE", since.isoformat() if since else "")
            outcome = dbtRunner().invoke(["build", "--quiet", *map(str, folders), *choice])
            # dbt keeps the file open in this process, and other settings could not open it.
            DuckDBConnectionManager.close_all_connections()
        if not kept.exists() or kept.stat().st_mtime_ns != parsed.stat().st_mtime_ns:
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_name(f"{kept.name}.{os.getpid()}")
            shutil.copy2(parsed, part)
            part.rename(kept)
        failed = [
            f"{r.node.name}: {r.message}"
            for r in getattr(outcome.result, "results", [])
            if r.status in ("error", "fail")
        ]
        assert outcome.success, outcome.exception or failed

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the private warehouse."""
        with duckdb.connect(str(self.home.warehouse), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def row(self, query: str) -> tuple[Any, ...]:
        """The one row of a query."""
        (row,) = self.rows(query)
        return row
