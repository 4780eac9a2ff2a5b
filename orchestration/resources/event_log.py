"""Dagster's event log in SQLite, with its connections kept open between events."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from orchestration.errors import UsageError

# The index of all runs and the run at work; a web server that looks through runs opens the others again.
_KEPT_SHARDS = 4


class KeptSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's SQLite event log, the same files, with an engine kept for the shards in use.

    Dagster makes an engine for each access: it compiles each statement anew, and closing the only connection of a
    file in WAL mode writes the log back and deletes it. A run of a thousand events spent most of its own time so.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._process = os.getpid()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing to set: the files lie where Dagster's own storage has them below DAGSTER_HOME."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> KeptSqliteEventLogStorage:
        """The storage below DAGSTER_HOME, history/runs as by default. Raises UsageError without DAGSTER_HOME."""
        del config_value
        home = os.environ.get("DAGSTER_HOME")
        if not home:
            raise UsageError("DAGSTER_HOME is not set: it names the folder dagster/ of the home.")
        return cls(str(Path(home) / "history" / "runs"), inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        if self._process != os.getpid():  # connections do not survive a fork
            self._engines.clear()
            self._process = os.getpid()
        engine = self._engines.get(shard)
        if engine is None:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
            )
            event.listen(engine, "connect", _in_wal_mode)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            self._engines[shard] = engine
        self._engines.move_to_end(shard)
        while len(self._engines) > _KEPT_SHARDS:
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def dispose(self) -> None:
        """Close the connections."""
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().dispose()


def _in_wal_mode(connection: Any, _record: Any) -> None:
    # In WAL mode a crash of the process loses nothing, and one of the machine the last events at most.
    connection.execute("pragma synchronous = normal")
