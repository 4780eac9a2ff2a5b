"""DuckDB as publisher and reader need it: sessions, names, copies of tables with all that belongs to them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.errors import PublishError


def name(text: str) -> str:
    """A quoted SQL name."""
    return '"' + text.replace('"', '""') + '"'


def text(value: str) -> str:
    """A quoted SQL text literal."""
    return "'" + value.replace("'", "''") + "'"


def date(value: dt.date) -> str:
    """A SQL date literal."""
    return f"cast('{value.isoformat()}' as date)"


@dataclass(frozen=True)
class Place:
    """One schema of an attached database."""

    database: str
    schema: str

    def table(self, table: str) -> str:
        """The full SQL name of a table in this place."""
        return f"{name(self.database)}.{name(self.schema)}.{name(table)}"


@dataclass(frozen=True)
class Column:
    """A column with its SQL type and its description."""

    name: str
    type: str
    comment: str | None


@dataclass(frozen=True)
class Table:
    """A table as the catalogue describes it."""

    place: Place
    name: str
    ddl: str
    comment: str | None
    columns: tuple[Column, ...]

    @property
    def full_name(self) -> str:
        """Name with database and schema."""
        return self.place.table(self.name)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns in their order."""
        return [column.name for column in self.columns]

    def types(self) -> list[dict[str, str]]:
        """Names and types, for a manifest."""
        return [{"name": column.name, "type": column.type} for column in self.columns]


def open_session(
    *, temp_folder: Path, memory_limit: str, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A session that owns no file. Databases are attached to it, so that no file is cached under its name."""
    session = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "memory_limit": memory_limit,
            "temp_directory": str(temp_folder),
            **({"threads": threads} if threads else {}),
        },
    )
    session.execute("set TimeZone = 'UTC'")
    return session


def attach(session: duckdb.DuckDBPyConnection, file: Path, database: str, *, read_only: bool = True) -> None:
    """Attach a database file. Raises duckdb.Error."""
    session.execute(f"attach {text(str(file))} as {name(database)}{' (read_only)' if read_only else ''}")


def tables(session: duckdb.DuckDBPyConnection, place: Place) -> dict[str, Table]:
    """The tables (not views) of a place by name, in order of their names."""
    columns: dict[str, list[Column]] = {}
    for table, column, type_name, comment in session.execute(
        "select table_name, column_name, data_type, comment from duckdb_columns() "
        "where database_name = ? and schema_name = ? order by table_name, column_index",
        [place.database, place.schema],
    ).fetchall():
        columns.setdefault(table, []).append(Column(column, type_name, comment))
    rows = session.execute(
        "select table_name, sql, comment from duckdb_tables() "
        "where database_name = ? and schema_name = ? order by table_name",
        [place.database, place.schema],
    ).fetchall()
    return {table: Table(place, table, sql, comment, tuple(columns[table])) for table, sql, comment in rows}


def create_like(session: duckdb.DuckDBPyConnection, source: Table, target: Place) -> None:
    """Make an empty table like `source` in `target`: types, constraints, defaults, comments.

    Raises PublishError when the stored definition does not start as a table definition should, and duckdb.Error.
    """
    session.execute(f"create table {target.table(source.name)}{_definition_body(source)}")
    if source.comment:
        session.execute(f"comment on table {target.table(source.name)} is {text(source.comment)}")
    for column in source.columns:
        if column.comment:
            session.execute(
                f"comment on column {target.table(source.name)}.{name(column.name)} is {text(column.comment)}"
            )


def _definition_body(table: Table) -> str:
    """The definition from its opening bracket on. Only the name in front of it is replaced, never text inside."""

    def spellings(part: str) -> tuple[str, str]:
        return part, name(part)

    prefixes = ["", *(f"{database}." for database in spellings(table.place.database))]
    for prefix in prefixes:
        for schema in (*(f"{schema}." for schema in spellings(table.place.schema)), ""):
            for own in spellings(table.name):
                head = f"CREATE TABLE {prefix}{schema}{own}("
                if table.ddl.startswith(head):
                    return table.ddl[len(head) - 1 :].rstrip().removesuffix(";")
    raise PublishError(
        f"The definition of the mart {table.name} cannot be copied. Build it as a table and run again."
    )


def count(session: duckdb.DuckDBPyConnection, source: str) -> int:
    """Rows of a table or of a relation in brackets."""
    row = session.execute(f"select count(*) from {source}").fetchone()
    return int(row[0]) if row else 0


def names(columns: Sequence[str]) -> str:
    """Quoted names, separated by commas."""
    return ", ".join(name(column) for column in columns)


def reason(error: Exception) -> str:
    """Why the engine failed, without any value of a row.

    Messages of the engine may quote data, so only those about files and memory are passed on.
    """
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else ""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, (duckdb.IOException, duckdb.OutOfMemoryException)):
        return first_line
    if isinstance(error, duckdb.ConstraintException):
        return "a row breaks a NOT NULL or another constraint of the table"
    if isinstance(error, duckdb.BinderException) and "Unique file handle conflict" in first_line:
        return "this process still has the file open; close it first or publish from another process"
    return f"the engine reported {type(error).__name__}"
