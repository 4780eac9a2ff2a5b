"""Where in a home a text stands: in every file, and of tables in every column, whatever their type."""

from __future__ import annotations

import re
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb


def places(folder: Path, texts: Iterable[str]) -> set[str]:
    """`file`, or `file table.column` for databases and Parquet files, of each place below the folder that holds one of the
    texts; names of files count as a place `name file`."""
    texts = sorted(set(texts))
    assert all(texts), "nothing to look for"
    found = set()
    with duckdb.connect() as session:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder).as_posix()
            if any(text in name for text in texts):
                found.add(f"name {name}")
            found |= {f"{name} {place}".strip() for place in _in_file(session, file, texts)}
    return found


def _in_file(session: duckdb.DuckDBPyConnection, file: Path, texts: Sequence[str]) -> Iterator[str]:
    match _kind(file):
        case "duckdb":
            with duckdb.connect(str(file), read_only=True) as own:
                yield from _in_tables(own, texts)
        case "parquet":
            quoted = str(file).replace("'", "''")
            session.execute(f"create or replace view rows as from read_parquet('{quoted}')")
            yield from _in_tables(session, texts)
        case "sqlite":
            yield from _in_sqlite(file, texts)
        case "zip":
            with zipfile.ZipFile(file) as archive:
                yield from (part for part in archive.namelist() if _in_bytes(archive.read(part), texts))
        case _:
            if _in_bytes(file.read_bytes(), texts):
                yield ""


def _kind(file: Path) -> str:
    """By content: names are not to be trusted."""
    with file.open("rb") as handle:
        head = handle.read(16)
    if head[8:12] == b"DUCK":
        return "duckdb"
    begins = {b"PAR1": "parquet", b"SQLi": "sqlite", b"PK\x03\x04": "zip"}
    return begins.get(head[:4], "bytes")


def _in_tables(session: duckdb.DuckDBPyConnection, texts: Sequence[str]) -> Iterator[str]:
    columns: dict[tuple[str, str], list[str]] = {}
    for schema, table, column in session.execute(
        "select schema_name, table_name, column_name from duckdb_columns() where not internal and data_type not in "
        "('DATE', 'TIMESTAMP', 'BOOLEAN', 'DOUBLE') order by all"
    ).fetchall():
        columns.setdefault((schema, table), []).append(column)
    pattern = "|".join(re.escape(text) for text in texts)
    for (schema, table), names in columns.items():
        asked = ", ".join(f'bool_or(regexp_matches(cast("{name}" as varchar), $pattern))' for name in names)
        held = session.execute(f'select {asked} from "{schema}"."{table}"', {"pattern": pattern}).fetchone()
        yield from (f"{table}.{name}" for name, there in zip(names, held or (), strict=True) if there)


def _in_sqlite(file: Path, texts: Sequence[str]) -> Iterator[str]:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        tables = [
            name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
        ]
        for table in tables:
            rows = connection.execute(f'select * from "{table}"')
            names = [column[0] for column in rows.description]
            held = set()
            for row in rows:
                held |= {
                    name
                    for name, value in zip(names, row, strict=True)
                    if value is not None and _in_bytes(_bytes(value), texts)
                }
            yield from (f"{table}.{name}" for name in sorted(held))
    finally:
        connection.close()


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _in_bytes(content: bytes, texts: Sequence[str]) -> bool:
    """As UTF-8, and as two bytes a character."""
    return any(text.encode() in content or text.encode("utf-16-le") in content for text in texts)
