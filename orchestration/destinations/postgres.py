"""A table in PostgreSQL: all records of a run in one transaction.

The table has a unique key column and a column per field. Records are staged in a temporary table of the same types
(a value that does not fit refuses its batch), then merged when the run is finished. Beside the table stands
`<table>_jingxi (activation, key)`: the rows that this system inserted. Only those are ever removed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import LiteralString

import psycopg
from psycopg import sql
from pydantic import Field, JsonValue

from orchestration.destinations.errors import (
    BatchRefused,
    ConfigurationError,
    DestinationError,
    Halted,
    NotSent,
    OutcomeUnknown,
    PermissionDenied,
)
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Capabilities,
    Finding,
    InDoubt,
    Outcome,
    RunInfo,
)
from orchestration.destinations.registry import DestinationSettings, Surroundings
from orchestration.destinations.secrets import SecretSource

BATCH_ROWS = 5_000
_IDENTIFIER = r"^[a-z_][a-z0-9_]{0,50}$"


class PostgresSettings(DestinationSettings):
    """`url` is a secret: `postgresql://user:password@host/database`. `key` is the table's unique column."""

    url: SecretSource
    db_schema: str = Field(default="public", alias="schema", pattern=_IDENTIFIER)
    table: str = Field(pattern=_IDENTIFIER)
    key: str = Field(pattern=_IDENTIFIER)
    connect_timeout_seconds: int = Field(default=10, ge=1)
    lock_timeout_seconds: int = Field(default=60, ge=1)


class PostgresTable:
    """Destination of kind `postgres`."""

    Settings = PostgresSettings
    capabilities = Capabilities(
        idempotent=True, removes=True, reconciles=False, batch_size=BATCH_ROWS, whole=True
    )

    def __init__(self, name: str, settings: PostgresSettings, surroundings: Surroundings) -> None:
        self.name = name
        self._settings = settings

    def check(self) -> None:
        """See that the table and its key are there and may be written. Raises DestinationError."""
        connection = _connect(self._settings)
        try:
            _Shape(connection, self._settings, ())
        finally:
            connection.close()

    def open(self, run: RunInfo) -> PostgresSession:
        """Connect and make the temporary table. Raises DestinationError."""
        connection = _connect(self._settings)
        try:
            return PostgresSession(connection, self._settings, run)
        except BaseException:
            connection.close()
            raise


class PostgresSession:
    """One attempt at a run."""

    def __init__(self, connection: psycopg.Connection, settings: PostgresSettings, run: RunInfo) -> None:
        self._connection = connection
        self._run = run
        self._shape = _Shape(connection, settings, run.fields)
        _guarded(self._prepare)

    def send(self, batch: Batch) -> Sequence[Outcome]:
        """Stage the records. Raises BatchRefused when a value does not fit its column, OutcomeUnknown."""
        if not batch.records:
            return []
        rows = [
            (own.key, own.operation, *(_value(own.fields.get(name)) for name in self._run.fields))
            for own in batch.records
        ]

        def stage() -> None:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                names = [sql.Identifier(own) for own in (self._shape.key, *self._run.fields)]
                columns = sql.SQL(", ").join([names[0], sql.Identifier("jingxi operation"), *names[1:]])
                statement = sql.SQL("copy jingxi_staged ({}) from stdin").format(columns)
                with cursor.copy(statement) as copy:
                    for row in rows:
                        copy.write_row(row)

        _guarded(stage)
        return [Accepted() for _ in batch.records]

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        """Not needed: merging the same records again changes nothing."""
        return [InDoubt("replay_instead") for _ in batch.records]

    def finish(self) -> None:
        """Merge and remove in one transaction. Raises OutcomeUnknown, BatchRefused, Halted."""
        _guarded(self._merge)

    def close(self) -> None:
        """Close the connection; what was staged is gone."""
        with contextlib.suppress(Exception):
            self._connection.close()

    def _prepare(self) -> None:
        with self._connection.transaction():
            # Asking for a table that is there needs the right to make one, too; and of two that make it at once,
            # one would fail.
            if not self._shape.has_owned:
                self._execute("select pg_advisory_xact_lock(hashtext('jingxi'))")
                self._execute(
                    "create table if not exists {owned} "
                    "(activation text not null, key text not null, primary key (activation, key))"
                )
            self._execute("create temporary table jingxi_staged as select {all} from {table} with no data")
            self._execute('alter table jingxi_staged add "jingxi operation" text not null')
            self._execute("alter table jingxi_staged add primary key ({key})")
            for name in self._run.fields:
                if name in self._shape.required:
                    check = sql.SQL("alter table jingxi_staged add check ({} = 'remove' or {} is not null)")
                    self._connection.execute(
                        check.format(sql.Identifier("jingxi operation"), sql.Identifier(name))
                    )

    def _merge(self) -> None:
        with self._connection.transaction():
            # Two runs of different lines wait for each other here instead of meeting in the middle.
            self._execute("lock table {owned} in share row exclusive mode")
            self._execute(
                "with merged as ("
                "insert into {table} ({all}) select {all} from jingxi_staged where {operation} = 'upsert' "
                "order by {key} on conflict ({key}) {on_conflict} returning {key}::text as key, xmax = 0 as is_new"
                ") insert into {owned} (activation, key) "
                "select {activation}, key from merged where is_new on conflict do nothing"
            )
            self._execute(
                "with gone as ("
                "delete from {owned} where activation = {activation} and key in "
                "(select {key}::text from jingxi_staged where {operation} = 'remove') returning key"
                ") delete from {table} where {key}::text in (select key from gone) and not exists "
                "(select from {owned} as other where other.key = {table}.{key}::text "
                "and other.activation <> {activation})"
            )
            self._execute("truncate jingxi_staged")

    def _execute(self, statement: LiteralString) -> None:
        shape = self._shape
        fields = [sql.Identifier(own) for own in self._run.fields]
        assigned = [sql.SQL("{} = excluded.{}").format(own, own) for own in fields]
        conflict = (
            sql.SQL("do update set ") + sql.SQL(", ").join(assigned)
            if fields
            else sql.SQL("do update set {} = excluded.{}").format(*[sql.Identifier(shape.key)] * 2)
        )
        self._connection.execute(
            sql.SQL(statement).format(
                owned=shape.owned,
                table=shape.table,
                key=sql.Identifier(shape.key),
                all=sql.SQL(", ").join([sql.Identifier(shape.key), *fields]),
                operation=sql.Identifier("jingxi operation"),
                on_conflict=conflict,
                activation=sql.Literal(self._run.activation),
            )
        )


class _Shape:
    """The target: that the table has the columns, and a unique index on the key. Raises DestinationError."""

    def __init__(
        self, connection: psycopg.Connection, settings: PostgresSettings, fields: Sequence[str]
    ) -> None:
        self.key = settings.key
        self.table = sql.Identifier(settings.db_schema, settings.table)
        self.owned = sql.Identifier(settings.db_schema, settings.table + "_jingxi")
        self.required: set[str] = set()
        self.has_owned = False
        self._names: set[str] = set()
        self._has_unique_key = False
        place = (settings.db_schema, settings.table)

        def look() -> None:
            columns = connection.execute(
                "select column_name, is_nullable from information_schema.columns "
                "where table_schema = %s and table_name = %s",
                place,
            ).fetchall()
            self._names = {str(row[0]) for row in columns}
            self.required = {str(row[0]) for row in columns if row[1] == "NO"}
            owned = connection.execute(
                "select to_regclass(%s)", (self.owned.as_string(connection),)
            ).fetchone()
            self.has_owned = owned is not None and owned[0] is not None
            found = connection.execute(
                "select 1 from pg_index join pg_class on pg_class.oid = indrelid "
                "join pg_namespace on pg_namespace.oid = relnamespace "
                "join pg_attribute on attrelid = indrelid and attnum = indkey[0] "
                "where nspname = %s and relname = %s and indisunique and indnkeyatts = 1 and indpred is null "
                "and attname = %s",
                (*place, settings.key),
            )
            self._has_unique_key = found.fetchone() is not None

        _guarded(look)
        if not self._names:
            raise ConfigurationError(
                "no_such_table", "The table does not exist, or this user may not see it."
            )
        missing = [own for own in (settings.key, *fields) if own not in self._names]
        if missing:
            raise ConfigurationError("no_such_column", f"The table has no column {', '.join(missing)}.")
        if settings.key in fields:
            raise ConfigurationError(
                "key_is_a_field", "The table's key is filled with the record's key: no field."
            )
        if not self._has_unique_key:
            raise ConfigurationError("key_not_unique", "The table's key needs a unique index of its own.")


def _connect(settings: PostgresSettings) -> psycopg.Connection:
    url = settings.url.read()
    failure: DestinationError
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=settings.connect_timeout_seconds,
            application_name="jingxi",
            options=f"-c lock_timeout={settings.lock_timeout_seconds}s -c timezone=UTC",
        )
    except psycopg.OperationalError as error:
        # A refused login has no SQL state in the driver's exception; the server's words are looked at, not kept.
        words = str(error)
        if "authentication failed" in words or "does not exist" in words or "pg_hba" in words:
            failure = PermissionDenied(
                "login_refused", "PostgreSQL refuses user, password, address or database."
            )
        else:
            failure = NotSent("no_connection", "PostgreSQL could not be reached.")
    except psycopg.Error:
        failure = ConfigurationError("url_unreadable", "The url is no PostgreSQL address.")
    else:
        return connection
    raise failure


def _guarded(do: Callable[[], None]) -> None:
    """Run database work; its errors quote values, so only their SQL state goes on."""
    failure: DestinationError
    try:
        do()
    except psycopg.errors.InsufficientPrivilege:
        failure = PermissionDenied(
            "42501",
            "The user needs SELECT, INSERT, UPDATE, DELETE on the table and CREATE in its schema for <table>_jingxi.",
        )
    except (psycopg.errors.DataError, psycopg.errors.IntegrityError) as error:
        failure = BatchRefused(f"sqlstate_{error.sqlstate}")
    except psycopg.errors.DiskFull:
        failure = Halted("53100", "The database's disk is full.")
    except psycopg.Error as error:
        failure = OutcomeUnknown(f"sqlstate_{error.sqlstate}" if error.sqlstate else "connection_broken")
    else:
        return
    raise failure


def _value(value: JsonValue) -> str | int | float | bool | None:
    """A JSON value as COPY takes it; lists and objects as JSON text."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value
