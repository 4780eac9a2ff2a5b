"""Read-only questions to the published marts, for `jingxi sql`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

import duckdb

from orchestration.errors import JingxiError, UsageError
from orchestration.home import Home
from orchestration.publishing import database

_BATCH_ROWS = 10_000
_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class QueryResult(NamedTuple):
    """Names of the columns, and all rows."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class QueryCursor:
    """An open question; `batches` hands its rows out once."""

    def __init__(self, session: duckdb.DuckDBPyConnection) -> None:
        description = session.description or []
        self.columns = [str(column[0]) for column in description]
        self.types = [str(column[1]) for column in description]
        self._session = session

    def batches(self, rows: int = _BATCH_ROWS) -> Iterator[list[tuple[Any, ...]]]:
        """Rows in lists of at most `rows`. Raises JingxiError when the engine fails half-way."""
        while True:
            try:
                batch = self._session.fetchmany(rows)
            except duckdb.Error as error:
                raise _failure(error) from error
            if not batch:
                return
            yield batch


@contextmanager
def open_marts(home: Home, *, memory_limit: str = "2GB") -> Iterator[duckdb.DuckDBPyConnection]:
    """A session on the published marts that can only read them: no files, no network, no settings.

    Tables are found as `user_wide` and as `marts.user_wide`. Raises JingxiError when nothing is published.
    """
    if not home.marts.exists():
        raise JingxiError(f"Nothing is published in {home.path} yet: run `jingxi run` first.")
    with database.open_session(temp_folder=home.temp, memory_limit=memory_limit) as session:
        try:
            database.attach(session, home.marts, "marts")
        except duckdb.Error as error:
            raise JingxiError(f"{home.marts} cannot be opened: {database.reason(error)}.") from error
        session.execute("use marts")
        session.execute("set max_temp_directory_size = '20GB'")
        session.execute("set enable_external_access = false")
        session.execute("set lock_configuration = true")
        yield session


@contextmanager
def open_query(home: Home, sql: str, *, memory_limit: str = "2GB") -> Iterator[QueryCursor]:
    """Ask one question and read its rows as they come.

    Raises UsageError when `sql` is not one reading statement or does not fit the marts, JingxiError when nothing
    is published or the engine fails.
    """
    statement = _one_reading_statement(sql)
    with open_marts(home, memory_limit=memory_limit) as session:
        try:
            session.execute(statement)
        except duckdb.Error as error:
            raise _failure(error) from error
        yield QueryCursor(session)


def query(home: Home, sql: str, *, memory_limit: str = "2GB") -> QueryResult:
    """Ask one question and return all of its rows. Raises as `open_query`."""
    with open_query(home, sql, memory_limit=memory_limit) as cursor:
        rows = [row for batch in cursor.batches() for row in batch]
        return QueryResult(cursor.columns, rows)


def write_csv(home: Home, sql: str, handle: TextIO, *, memory_limit: str = "2GB") -> int:
    """Write the answer as CSV with a header and return its number of rows. Raises as `open_query`."""
    count = 0
    with open_query(home, sql, memory_limit=memory_limit) as cursor:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(cursor.columns)
        for batch in cursor.batches():
            writer.writerows(batch)
            count += len(batch)
    return count


def _one_reading_statement(sql: str) -> duckdb.Statement:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError(f"The SQL cannot be read: {_first_line(error)}") from error
    if not statements:
        raise UsageError('Write one question, such as `jingxi sql "select count(*) from user_wide"`.')
    if len(statements) > 1:
        raise UsageError("Write one statement at a time: this holds several.")
    statement = statements[0]
    if statement.type not in _READING:
        raise UsageError(
            f"Only reading is possible here (select, with, describe, show, summarize, explain): "
            f"this is {statement.type.name.replace('_', ' ').lower()}."
        )
    return statement


def _failure(error: duckdb.Error) -> JingxiError:
    if isinstance(error, duckdb.PermissionException):
        return UsageError("A question may read the published marts only, no files and no other databases.")
    if isinstance(error, (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InterruptException)):
        return JingxiError(f"The question could not be answered: {_first_line(error)}")
    return UsageError(f"The question does not fit the marts: {_first_line(error)}")


def _first_line(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    hint = next((line for line in lines[1:] if line.startswith(("Did you mean", "Candidate"))), "")
    return " ".join(part for part in (lines[0] if lines else type(error).__name__, hint) if part)
