"""What every DuckDB session of dbt knows besides the tables: the day, the files, the keys.

The values live in session variables, not in dbt vars: compiled SQL then stays the same for every day and holds
no secret, and dbt's partial parse stays valid from run to run. On another engine the same macros
(`as_of`, `keyed_hash`, `source('raw', …)`) render from dbt vars, a UDF and tables.
"""

from __future__ import annotations

import datetime as dt
import os
from functools import cache

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from orchestration.home import Home
from orchestration.ingestion.contracts import TABLES
from orchestration.ingestion.registry import Registry, empty_file

AS_OF_VARIABLE = "JINGXI_AS_OF"
INPUT_HASH_VARIABLE = "JINGXI_INPUT_HASH"
THREADS_VARIABLE = "JINGXI_THREADS"
_BLOCK_BYTES = 64  # block size of SHA-256, RFC 2104


def hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """Inner and outer pad of HMAC-SHA256 (RFC 2104) for a key of at most 64 bytes."""
    block = key.ljust(_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


@cache
def session_statements(home: Home, as_of: dt.date, input_hash: str) -> str:
    """SQL that sets as_of, input_hash, the pads of the keyed hash and the raw files that count on `as_of`.

    Made once per process: dbt opens a cursor for every model and test, and no file is taken in while it runs.
    """
    visible = Registry(home).visible_files(as_of)
    inner, outer = hmac_pads(home.secret_key())
    literals = {
        "as_of": f"date '{as_of.isoformat()}'",
        "input_hash": _text(input_hash),
        "hmac_inner": f"unhex('{inner.hex()}')",
        "hmac_outer": f"unhex('{outer.hex()}')",
    }
    for table in TABLES:
        files = [str(empty_file(home, table)), *(str(file) for file in visible.get(table.name, ()))]
        literals[f"raw_{table.name}"] = "[" + ", ".join(_text(file) for file in files) + "]"
    return ";".join(f"set variable {name} = {literal}" for name, literal in literals.items())


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


class Plugin(BasePlugin):
    """dbt-duckdb plugin: prepares each cursor from JINGXI_HOME, JINGXI_AS_OF and JINGXI_INPUT_HASH."""

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set the variables of one cursor; nothing when dbt is called by hand without a day."""
        threads = os.environ.get(THREADS_VARIABLE)
        if threads:
            cursor.execute(f"set threads = {int(threads)}")
        as_of = os.environ.get(AS_OF_VARIABLE)
        if as_of:
            cursor.execute(
                session_statements(
                    Home.from_environment(),
                    dt.date.fromisoformat(as_of),
                    os.environ.get(INPUT_HASH_VARIABLE, ""),
                )
            )
