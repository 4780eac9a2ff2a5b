"""The marts and the identifiers of one published version, for readers that need both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from orchestration.errors import JingxiError
from orchestration.home import Home
from orchestration.publishing import database
from orchestration.publishing.publication import Publication, attached_publication
from orchestration.settings import Settings

_TRIES = 100
_WAIT_SECONDS = 0.1


@contextmanager
def open_pair(
    home: Home, settings: Settings, *, then: str
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Publication]]:
    """A session with `marts` and `private` attached read-only, both of the one version that is returned with it.

    A publication switches one file after the other; one that is just switching is waited for. Raises JingxiError when
    nothing is published, a file cannot be read, or a publication was interrupted; `then` names what to do after it
    was repaired.
    """
    for attempt in range(_TRIES):
        if not home.marts.exists() or not home.private_marts.exists():
            raise JingxiError(f"Nothing is published in {home.path} yet: run `jingxi run` first.")
        with database.open_session(
            temp_folder=home.temp,
            memory_limit=settings.engine.memory_limit,
            threads=settings.engine.threads,
        ) as session:
            versions = []
            try:
                for kind, file in (("private", home.private_marts), ("marts", home.marts)):
                    database.attach(session, file, kind)
                    versions.append(attached_publication(session, kind))
            except duckdb.Error as error:
                raise JingxiError(
                    f"The published marts cannot be read: {database.reason(error)}. Run `jingxi run` again."
                ) from error
            if versions[0] == versions[1] and versions[1] is not None:
                yield session, versions[1]
                return
        if attempt + 1 < _TRIES:
            time.sleep(_WAIT_SECONDS)
    raise JingxiError(f"The last publication was interrupted: run `jingxi run` again, then {then}.")
