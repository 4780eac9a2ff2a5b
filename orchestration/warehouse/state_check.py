"""Whether what is taken from day to day still equals what the raw files give: a rebuild beside it, compared row by row.

The rebuild works in a home of its own below `<home>/temp`, which reads the same raw files and shares settings, key and
user-id registry (as copies); the home itself is only read.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from orchestration.errors import BuildError
from orchestration.home import Home
from orchestration.settings import Settings
from orchestration.warehouse.project import dbt_args, dbt_environment, input_hash, run_dbt
from orchestration.warehouse.state_day import held_day

TABLE = "user_wide"


@dataclass(frozen=True)
class StateCheck:
    """The outcome. `columns` counts the users whose value differs, for each column that differs; `users` are those with
    any difference, those missing on one side included."""

    as_of: dt.date
    compared: int
    users: int
    only_held: int
    only_rebuilt: int
    columns: dict[str, int]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.users

    def __str__(self) -> str:
        if self.is_equal:
            return f"{TABLE} of {self.as_of} equals its rebuild: {self.compared} users, every column."
        named = ", ".join(f"{name} ({users})" for name, users in sorted(self.columns.items())) or "none"
        return (
            f"{TABLE} of {self.as_of} differs from its rebuild for {self.users} of {self.compared} users; columns: {named}; "
            f"users only in the running state: {self.only_held}, only in the rebuild: {self.only_rebuilt}. "
            "`jingxi run --full-refresh` builds everything anew."
        )


def check_state(home: Home, settings: Settings) -> StateCheck:
    """Rebuild the day that the warehouse holds and compare. Raises BuildError when it holds none in full."""
    day = held_day(home, settings)
    if day is None:
        raise BuildError(
            "The warehouse holds no day in full, or its input has changed since; nothing to compare. Run `jingxi run` first."
        )
    with _scratch(home) as scratch:
        environment = dbt_environment(scratch, settings, day, input_hash(scratch, settings, day))
        run_dbt(scratch, dbt_args("build", settings, select=(f"+{TABLE}",), tests=False), environment)
        return compare(home, scratch, day)


def compare(held: Home, rebuilt: Home, as_of: dt.date) -> StateCheck:
    """The wide tables of two warehouses, user by user and column by column."""
    with duckdb.connect() as connection:
        connection.execute(f"attach '{_quoted(held)}' as held (read_only)")
        connection.execute(f"attach '{_quoted(rebuilt)}' as rebuilt (read_only)")
        columns = [
            row[0]
            for row in connection.execute(
                "select distinct column_name from duckdb_columns() "
                f"where table_name = '{TABLE}' and schema_name = 'marts' order by 1"
            ).fetchall()
        ]
        differs = [f'held."{name}" is distinct from rebuilt."{name}"' for name in columns]
        # A user who is missing on one side is said once, not for every column.
        both = "held.user_id is not null and rebuilt.user_id is not null"
        counts = ", ".join(f"count(*) filter (where {both} and {condition})" for condition in differs)
        (row,) = connection.execute(
            f"select count(*), count(*) filter (where {' or '.join(differs)}), "
            "count(*) filter (where rebuilt.user_id is null), count(*) filter (where held.user_id is null), "
            f"{counts} from held.marts.{TABLE} as held "
            f"full outer join rebuilt.marts.{TABLE} as rebuilt on rebuilt.user_id = held.user_id"
        ).fetchall()
    compared, users, only_held, only_rebuilt, *by_column = map(int, row)
    return StateCheck(
        as_of,
        compared,
        users,
        only_held,
        only_rebuilt,
        {name: number for name, number in zip(columns, by_column, strict=True) if number},
    )


@contextmanager
def _scratch(home: Home) -> Iterator[Home]:
    scratch = Home(home.temp / "state_check")
    shutil.rmtree(scratch.path, ignore_errors=True)
    try:
        scratch.path.mkdir(parents=True)
        scratch.raw.symlink_to(home.raw.resolve(), target_is_directory=True)
        shutil.copytree(home.state, scratch.state)
        shutil.copy2(home.secret_key_file, scratch.secret_key_file)
        scratch.create()
        parsed = home.dbt_target / "partial_parse.msgpack"
        if parsed.exists():
            shutil.copy2(parsed, scratch.dbt_target / parsed.name)
        yield scratch
    finally:
        shutil.rmtree(scratch.path, ignore_errors=True)


def _quoted(home: Home) -> str:
    return str(home.warehouse).replace("'", "''")
