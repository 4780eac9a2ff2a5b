"""Which version a published file holds: its one-row table `publication`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.errors import PublishError
from orchestration.publishing import database
from orchestration.publishing.database import Place, name

PUBLICATION = "publication"


@dataclass(frozen=True)
class Publication:
    """One published version. `published_at` is UTC without a zone."""

    version: str
    as_of: dt.date
    input_hash: str
    published_at: dt.datetime

    def same_content(self, other: Publication) -> bool:
        """Whether both were made for the same day from the same input."""
        return (self.as_of, self.input_hash) == (other.as_of, other.input_hash)


def read_publication(file: Path) -> Publication | None:
    """The publication row of a published file, None when the file is not there.

    Raises PublishError when the file is no published file.
    """
    if not file.exists():
        return None
    try:
        with duckdb.connect(":memory:") as session:
            database.attach(session, file, "published")
            return attached_publication(session, "published")
    except duckdb.Error as error:
        if not file.exists():
            return None
        raise PublishError(
            f"{file} cannot be read as a published file: move it away, then run again to publish anew."
        ) from error


def attached_publication(session: duckdb.DuckDBPyConnection, attached: str) -> Publication | None:
    """The publication row of an attached published file. Raises duckdb.Error when it is none."""
    row = session.execute(
        f"select version, as_of_date, input_hash, published_at from {name(attached)}.main.{name(PUBLICATION)}"
    ).fetchone()
    return Publication(*row) if row else None


def write_publication(session: duckdb.DuckDBPyConnection, place: Place, publication: Publication) -> None:
    """Make the table `publication` in `place`. Raises duckdb.Error."""
    table = place.table(PUBLICATION)
    session.execute(
        f"create table {table} (version varchar not null, as_of_date date not null, "
        "input_hash varchar not null, published_at timestamp not null)"
    )
    comments = {
        "version": "Sortable name of the published version",
        "as_of_date": "Business day that the marts describe",
        "input_hash": "Hash of the input that the marts were built from",
        "published_at": "Moment of publication, UTC",
    }
    session.execute(f"comment on table {table} is 'One row: the version that this file holds.'")
    for column, comment in comments.items():
        session.execute(f"comment on column {table}.{name(column)} is {database.text(comment)}")
    session.execute(
        f"insert into {table} values (?, ?, ?, ?)",
        [publication.version, publication.as_of, publication.input_hash, publication.published_at],
    )
