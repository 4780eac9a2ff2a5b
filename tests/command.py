"""Runs the real `jingxi` command, as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

EXECUTABLE = Path(sys.executable).with_name("jingxi")


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings that a developer may have exported."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JINGXI_", "DAGSTER_", "DBT_"))
    }
    clean.pop("PYTHONDONTWRITEBYTECODE", None)
    # Two days of history: enough to be filled in, and half the time of the default.
    return {**clean, "COLUMNS": "160", "NO_COLOR": "1", "JINGXI_SET_HISTORY__DAYS": "2", **more}


def jingxi(*arguments: str | Path, status: int | None = 0, timeout: float = 600) -> Outcome:
    """Run the command; fail the test when it ends with another status than the one that is expected."""
    process = subprocess.run(
        [EXECUTABLE, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    outcome = Outcome(process.returncode, process.stdout, process.stderr)
    if status is not None and outcome.status != status:
        raise AssertionError(
            f"jingxi {' '.join(map(str, arguments))} ended with {outcome.status}, expected {status}\n"
            f"{outcome.out[-4000:]}\n{outcome.err[-4000:]}"
        )
    return outcome


def ask(home: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query on the published marts."""
    with duckdb.connect(str(home / "published" / "marts.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def marts(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all published marts but `publication`, sorted."""
    with duckdb.connect(str(home / "published" / "marts.duckdb"), read_only=True) as connection:
        names = [row[0] for row in connection.execute("select table_name from duckdb_tables()").fetchall()]
        return {
            name: connection.execute(f'select * from "{name}" order by all').fetchall()
            for name in sorted(names)
            if name != "publication"
        }
