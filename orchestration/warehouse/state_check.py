"""Whether what is taken from day to day still equals what the raw files give: a rebuild beside it, compared row by row.

The rebuild works in a home of its own below `<home>/temp`, which reads the same raw files and shares settings, key and
intake registry (as copies); the home itself is only read. Compared are the wide table, column by column, and every
model that goes forward, whose errors would show in the wide table only on a later day. A state that is found wrong is
not gone on from: the home's next build starts from the raw files.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb

from orchestration.errors import BuildError
from orchestration.home import Home
from orchestration.settings import Settings
from orchestration.warehouse.project import dbt_args, dbt_environment, input_hash, run_dbt
from orchestration.warehouse.quick_dbt import TEMPLATES
from orchestration.warehouse.state_day import forget_state_day, held_day

TABLE = "user_wide"
# Tags are judged from more than the wide table; what else goes forward is above these two.
_REBUILT = (f"+{TABLE}", "+int_tags__judged")
# What says how a running model came to hold its rows, not what they are; the wide table shows the days behind the bits.
_HOW_IT_CAME = frozenset(
    {
        "added_on",
        "removed_on",
        "changed_on",
        "computed_on",
        "active_days_bits",
        "previous_owner_key",
        "witness",
    }
)
# Rows that a running model keeps and nothing counts any more.
_STANDING = {"removed_on": "removed_on is null", "owner_key": "owner_key is not null"}
# Going forward it holds another set of rows than built anew: the rest is held by the models that read it.
_NOT_COMPARED = frozenset({"int_identity__reissued", "int_identity__sightings", "int_activity__moves"})

# It explains keys, also those that no row has any more: only what it lacks is wrong.
_EXPLAINS = frozenset({"int_activity__kinds"})


@dataclass(frozen=True)
class StateCheck:
    """The outcome. `columns` counts the users whose value differs, for each column that differs; `users` are those with
    any difference, those missing on one side included. `models` counts the rows of each running model that only one
    side holds."""

    as_of: dt.date
    compared: int
    users: int
    only_held: int
    only_rebuilt: int
    columns: dict[str, int]
    models: dict[str, int] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.users and not self.models

    def __str__(self) -> str:
        if self.is_equal:
            return f"{TABLE} of {self.as_of} equals its rebuild: {self.compared} users, every column."
        columns, models = (
            ", ".join(f"{name} ({number})" for name, number in sorted(counts.items())) or "none"
            for counts in (self.columns, self.models)
        )
        return (
            f"{TABLE} of {self.as_of} differs from its rebuild for {self.users} of {self.compared} users; "
            f"columns: {columns}; users only in the running state: {self.only_held}, only in the rebuild: "
            f"{self.only_rebuilt}; rows of running models that only one side holds: {models}. The next build starts "
            "from the raw files; `jingxi run --full-refresh` does so now."
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
        run_dbt(scratch, dbt_args("build", settings, select=_REBUILT, tests=False), environment)
        outcome = compare(home, scratch, day, memory_limit=settings.engine.memory_limit)
    if not outcome.is_equal:
        forget_state_day(home)
    return outcome


def compare(held: Home, rebuilt: Home, as_of: dt.date, *, memory_limit: str = "2GB") -> StateCheck:
    """The wide tables of two warehouses, user by user and column by column, and the running models of the rebuild."""
    with duckdb.connect(
        config={"memory_limit": memory_limit, "temp_directory": str(rebuilt.temp)}
    ) as connection:
        connection.execute(f"attach '{_quoted(held)}' as held (read_only)")
        connection.execute(f"attach '{_quoted(rebuilt)}' as rebuilt (read_only)")
        columns = _columns(connection, TABLE)[1]
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
        models = {model: _rows_apart(connection, model) for model in _running_models(connection)}
    compared, users, only_held, only_rebuilt, *by_column = map(int, row)
    return StateCheck(
        as_of,
        compared,
        users,
        only_held,
        only_rebuilt,
        {name: number for name, number in zip(columns, by_column, strict=True) if number},
        {model: number for model, number in models.items() if number},
    )


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[str, list[str]]:
    """Schema and columns of a table of the rebuild."""
    found = connection.execute(
        "select schema_name, column_name from duckdb_columns() "
        "where database_name = 'rebuilt' and table_name = ? order by 2",
        [table],
    ).fetchall()
    return found[0][0], [name for _, name in found]


def _running_models(connection: duckdb.DuckDBPyConnection) -> list[str]:
    records = (
        "select 1 from duckdb_tables() where database_name = 'rebuilt' and table_name = 'running_models'"
    )
    if not connection.execute(records).fetchall():
        return []
    names = connection.execute("select model from rebuilt.main.running_models order by 1").fetchall()
    return [name for (name,) in names if name not in _NOT_COMPARED]


def _rows_apart(connection: duckdb.DuckDBPyConnection, model: str) -> int:
    """Rows of a running model that only one side holds, by the hash of what they say; 0 costs one scan of each side.

    Of a model that explains keys only the rows count that the rebuild alone holds.
    """
    schema, columns = _columns(connection, model)
    said = ", ".join(f'"{name}"' for name in columns if name not in _HOW_IT_CAME)
    standing = " and ".join(_STANDING[name] for name in columns if name in _STANDING) or "true"
    hashes = {
        side: f"select hash({said}) as said from {side}.{schema}.{model} where {standing}"
        for side in ("held", "rebuilt")
    }
    held, rebuilt = (
        connection.execute(f"select count(*), sum(said) from ({query})").fetchone()
        for query in hashes.values()
    )
    if held == rebuilt:
        return 0
    apart_by = "greatest(-balance, 0)" if model in _EXPLAINS else "abs(balance)"
    (apart,) = connection.execute(
        f"select sum({apart_by}) from (select sum(side) as balance from "
        f"(select said, 1 as side from ({hashes['held']}) union all select said, -1 as side from ({hashes['rebuilt']})) "
        "group by said)"
    ).fetchall()
    return int(apart[0])


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
        for made in ("partial_parse.msgpack", TEMPLATES):
            if (home.dbt_target / made).exists():
                shutil.copy2(home.dbt_target / made, scratch.dbt_target)
        yield scratch
    finally:
        shutil.rmtree(scratch.path, ignore_errors=True)


def _quoted(home: Home) -> str:
    return str(home.warehouse).replace("'", "''")
