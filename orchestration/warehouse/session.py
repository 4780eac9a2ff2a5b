"""What every DuckDB session of dbt knows besides the tables: the day, the files, the keys.

The values live in the session, not in dbt vars: compiled SQL then stays the same for every day and holds
no secret, and dbt's partial parse stays valid from run to run. On another engine the same macros
(`as_of`, `keyed_hash`, `source('raw', …)`) render from dbt vars, a UDF and tables.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from orchestration.home import Home
from orchestration.ingestion.contracts import TABLES
from orchestration.ingestion.registry import Registry, empty_file
from orchestration.settings import EngineConfig

AS_OF_VARIABLE = "JINGXI_AS_OF"
INPUT_HASH_VARIABLE = "JINGXI_INPUT_HASH"
KNOWN_UNTIL_VARIABLE = "JINGXI_KNOWN_UNTIL"  # last day of arrival on which a file counts; empty = as_of
SINCE_VARIABLE = "JINGXI_SINCE"
THREADS_VARIABLE = "JINGXI_THREADS"
MEMORY_LIMIT_VARIABLE = "JINGXI_MEMORY_LIMIT"
_SESSION = "jingxi_session"
_BLOCK_BYTES = 64  # block size of SHA-256, RFC 2104
# Memory for a user's row while all families of the wide table are joined: their keys and values stand in memory at once.
# Measured with 16 families: a million users need 2.5 GB, half of them 1.3 GB.
BYTES_PER_USER = 5_000
_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """Inner and outer pad of HMAC-SHA256 (RFC 2104) for a key of at most 64 bytes."""
    block = key.ljust(_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def session_values(home: Home, as_of: dt.date, input_hash: str, since: dt.date | None) -> dict[str, str]:
    """SQL literals of the session's variables: the day, the day that the warehouse holds in full (null when all is
    built anew), the input hash, the pads of the keyed hash."""
    inner, outer = hmac_pads(home.secret_key())
    return {
        "as_of": f"date '{as_of.isoformat()}'",
        "since": f"date '{since.isoformat()}'" if since else "cast(null as date)",
        "input_hash": _text(input_hash),
        "hmac_inner": f"unhex('{inner.hex()}')",
        "hmac_outer": f"unhex('{outer.hex()}')",
    }


def closes_gaps(as_of: dt.date, since: dt.date | None) -> bool:
    """Whether a build lets the engine move rows together where others were deleted: the first one of an ISO week that goes
    forward from the day `since`.

    Done when every build ends it takes 9 of the 10 processor seconds of closing the warehouse of a million users, most of them for tables
    that the next build makes anew. After six days of gaps the numbers of int_users__activity are read in 0.11 s instead of 0.04.
    """
    return since is not None and as_of.isocalendar()[:2] != since.isocalendar()[:2]


def users_per_part(memory_limit: str) -> int:
    """How many users are joined at a time under a limit like "4GB", for models that are built in parts."""
    number, unit = re.fullmatch(r"([\d.]+)\s*([A-Za-z]+)", memory_limit.strip()).groups()  # type: ignore[union-attr]
    return max(1, int(float(number) * _UNITS[unit]) // BYTES_PER_USER)


def raw_files(home: Home, as_of: dt.date, since: dt.date | None = None) -> dict[str, list[str]]:
    """The raw files of every input table that have arrived by `as_of` (and not yet by `since`), an empty typed one first."""
    visible = Registry(home).visible_files(as_of)
    before = Registry(home).visible_files(since) if since else {}
    files = {}
    for table in TABLES:
        known = set(before.get(table.name, ()))
        counting = [str(file) for file in visible.get(table.name, ()) if file not in known]
        files[table.name] = [str(empty_file(home, table)), *counting]
    return files


def ever_arrived_files(home: Home, as_of: dt.date, since: dt.date = dt.date.min) -> dict[str, list[str]]:
    """The raw files of every input table that arrived by `as_of` and after `since`, those that were replaced by now
    included, an empty typed one first."""
    arrived = Registry(home).arrived_files(as_of, since)
    return {
        table.name: [str(empty_file(home, table)), *(str(file) for file in arrived.get(table.name, ()))]
        for table in TABLES
    }


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _files_script(files: Mapping[str, Sequence[str]], schema: str) -> str:
    """SQL that makes one function for each input table, <session>.<schema>.<table>(), its list of files.

    A function costs nothing until it is called, where a variable would be set for every cursor.
    """
    made = [f"create schema {_SESSION}.{schema}"]
    for table, names in files.items():
        made.append(f"create macro {_SESSION}.{schema}.{table}() as [{', '.join(map(_text, names))}]")
    return ";\n".join(made)


def _table_script(table: str, columns: Mapping[tuple[str, str], Sequence[object]]) -> str:
    """SQL that makes a table of the session from values by (column, type), none of which holds a comma.

    One literal a column: thousands of rows come at once, and bound parameters would have the engine load pandas.
    """
    filled = any(columns.values())
    made = (
        f"unnest(cast(string_split({_text(','.join(map(str, values)))}, ',') as {kind}[])) as {column}"
        if filled
        else f"cast(null as {kind}) as {column}"
        for (column, kind), values in columns.items()
    )
    return f"create table {_SESSION}.{table} as select {', '.join(made)}{'' if filled else ' limit 0'}"


def keep_arrivals(conn: DuckDBPyConnection, home: Home, as_of: dt.date) -> None:
    """Keep what arrived by table and day for macro `arrivals`."""
    arrivals = Registry(home).arrivals(as_of)
    conn.execute(
        _table_script(
            "arrivals",
            {
                ("table_name", "varchar"): [one.table for one in arrivals],
                ("arrived_on", "date"): [one.arrived_on for one in arrivals],
                ("files_count", "bigint"): [one.files for one in arrivals],
                ("rows_count", "bigint"): [one.accepted for one in arrivals],
                ("rejected_count", "bigint"): [one.rejected for one in arrivals],
            },
        )
    )


def keep_replaced_files(conn: DuckDBPyConnection, home: Home, as_of: dt.date) -> None:
    """Keep the landing files replaced by `as_of` for macro `replaced_files`."""
    replaced = Registry(home).replaced_files(as_of)
    conn.execute(
        _table_script(
            "replaced_files",
            {
                ("table_name", "varchar"): [table for table, _, _ in replaced],
                ("taken_in_at", "timestamp"): [taken_in_at for _, taken_in_at, _ in replaced],
                ("replaced_on", "date"): [replaced_on for _, _, replaced_on in replaced],
            },
        )
    )


class Plugin(BasePlugin):
    """dbt-duckdb plugin: opens the warehouse of JINGXI_HOME, prepares each cursor from JINGXI_AS_OF and JINGXI_INPUT_HASH.

    Prepares nothing when dbt is called by hand without a day. Variables belong to a cursor, and dbt opens one for every
    model and test; the long lists of files are therefore kept once per connection, by a database in memory.
    """

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Name the home's warehouse and what it may use. For the database, not for a cursor: one that sets the
        temporary folder again fails when it is in use."""
        home = Home.from_environment()
        creds.path = str(home.warehouse)
        config["temp_directory"] = str(home.temp)
        config["memory_limit"] = self._memory_limit()

    def _memory_limit(self) -> str:
        return os.environ.get(MEMORY_LIMIT_VARIABLE) or EngineConfig().memory_limit

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Keep the lists of raw files and the values of the variables for all cursors of the connection."""
        threads = os.environ.get(THREADS_VARIABLE)
        if threads:
            conn.execute(f"set threads = {int(threads)}")
        as_of = os.environ.get(AS_OF_VARIABLE)
        self._statement = ""
        if not as_of:
            return
        home, day = Home.from_environment(), dt.date.fromisoformat(as_of)
        from_day = os.environ.get(SINCE_VARIABLE)
        since = dt.date.fromisoformat(from_day) if from_day else None
        if not closes_gaps(day, since):
            conn.execute("set max_vacuum_tasks = 0")
        values = session_values(home, day, os.environ.get(INPUT_HASH_VARIABLE, ""), since)
        conn.execute(f"attach ':memory:' as {_SESSION}")
        known_until = dt.date.fromisoformat(os.environ.get(KNOWN_UNTIL_VARIABLE) or as_of)
        raw = raw_files(home, known_until)
        for schema, files in (
            ("raw", raw),
            ("arrived", raw_files(home, known_until, since)),
            ("ever_arrived", ever_arrived_files(home, day)),
            ("ever_arrived_since", ever_arrived_files(home, day, since or dt.date.min)),
        ):
            conn.execute(_files_script(files, schema))
        every_file = ", ".join(_text(file) for files in raw.values() for file in files)
        conn.execute(f"create macro {_SESSION}.raw_files() as [{every_file}]")
        values["users_per_part"] = str(users_per_part(self._memory_limit()))
        keep_replaced_files(conn, home, day)
        keep_arrivals(conn, home, day)
        self._statement = ";".join(f"set variable {name} = {value}" for name, value in values.items())

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set the variables of one cursor."""
        if self._statement:
            cursor.execute(self._statement)
