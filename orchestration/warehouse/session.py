"""What every DuckDB session of dbt knows besides the tables: the day, the files, the keys.

The values live in session variables, not in dbt vars: compiled SQL then stays the same for every day and holds
no secret, and dbt's partial parse stays valid from run to run. On another engine the same macros
(`as_of`, `keyed_hash`, `source('raw', …)`) render from dbt vars, a UDF and tables.
"""

from __future__ import annotations

import datetime as dt
import os

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from orchestration.home import Home
from orchestration.ingestion.contracts import TABLES
from orchestration.ingestion.registry import Registry, empty_file

AS_OF_VARIABLE = "JINGXI_AS_OF"
INPUT_HASH_VARIABLE = "JINGXI_INPUT_HASH"
KNOWN_UNTIL_VARIABLE = "JINGXI_KNOWN_UNTIL"  # last day of arrival on which a file counts; empty = as_of
SINCE_VARIABLE = "JINGXI_SINCE"
THREADS_VARIABLE = "JINGXI_THREADS"
_SESSION = "jingxi_session"
_BLOCK_BYTES = 64  # block size of SHA-256, RFC 2104


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


def keep_arrivals(conn: DuckDBPyConnection, home: Home, as_of: dt.date) -> None:
    """Keep what arrived by table and day for macro `arrivals`. One statement: thousands of rows come at once."""
    arrivals = Registry(home).arrivals(as_of)
    conn.execute(
        f"create table {_SESSION}.arrivals as select unnest(cast($tables as varchar[])) as table_name, unnest(cast($days as date[])) as arrived_on, "
        "unnest(cast($files as bigint[])) as files_count, unnest(cast($accepted as bigint[])) as rows_count, unnest(cast($rejected as bigint[])) as rejected_count",
        {
            "tables": [one.table for one in arrivals],
            "days": [one.arrived_on for one in arrivals],
            "files": [one.files for one in arrivals],
            "accepted": [one.accepted for one in arrivals],
            "rejected": [one.rejected for one in arrivals],
        },
    )


class Plugin(BasePlugin):
    """dbt-duckdb plugin: prepares each cursor from JINGXI_HOME, JINGXI_AS_OF and JINGXI_INPUT_HASH.

    Does nothing when dbt is called by hand without a day. Variables belong to a cursor, and dbt opens one for every
    model and test; the long lists of files are therefore written once per connection, into a database in memory.
    """

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
        values = session_values(home, day, os.environ.get(INPUT_HASH_VARIABLE, ""), since)
        registry = Registry(home)
        conn.execute(f"attach ':memory:' as {_SESSION}")
        known_until = dt.date.fromisoformat(os.environ.get(KNOWN_UNTIL_VARIABLE) or as_of)
        for variable, files in (
            ("raw", raw_files(home, known_until)),
            ("arrived", raw_files(home, known_until, since)),
            ("ever_arrived", ever_arrived_files(home, day)),
            ("ever_arrived_since", ever_arrived_files(home, day, since or dt.date.min)),
        ):
            conn.execute(f"create table {_SESSION}.{variable} (name varchar, files varchar[])")
            conn.executemany(
                f"insert into {_SESSION}.{variable} values (?, ?)", [[*item] for item in files.items()]
            )
            values[variable] = f"(select map(list(name), list(files)) from {_SESSION}.{variable})"
        withdrawn = sorted(registry.withdrawn_tables(since, day)) if since else []
        values["withdrawn"] = f"cast([{', '.join(map(_text, withdrawn))}] as varchar[])"
        conn.execute(
            f"create table {_SESSION}.replaced_files "
            "(table_name varchar, taken_in_at timestamp, replaced_on date)"
        )
        if replaced := registry.replaced_files(day):
            conn.executemany(f"insert into {_SESSION}.replaced_files values (?, ?, ?)", replaced)
        keep_arrivals(conn, home, day)
        self._statement = ";".join(f"set variable {name} = {value}" for name, value in values.items())

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set the variables of one cursor."""
        if self._statement:
            cursor.execute(self._statement)
