"""A home with a small published version that was written by hand: no build is needed to ask or to send."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from orchestration.home import Home
from orchestration.ingestion.intake import take_in
from orchestration.publishing.database import Place
from orchestration.publishing.publication import Publication, write_publication
from orchestration.settings import Settings, load_settings

AS_OF = dt.date(2026, 6, 30)
# 10:00 of the day after in Shanghai.
NOW = dt.datetime(2026, 7, 1, 2, 0, tzinfo=dt.UTC)


class PublishedHome:
    """`people`: user_id → identifiers by kind."""

    def __init__(self, path: Path, people: Mapping[str, Mapping[str, str]]) -> None:
        self.home = Home(path)
        self.home.create()
        self.home.secret_key()
        self.settings: Settings = load_settings(self.home)[0]
        identifiers = [(user, kind, id_) for user, kinds in people.items() for kind, id_ in kinds.items()]
        for file in (self.home.marts, self.home.private_marts):
            with duckdb.connect(str(file)) as session:
                published = Publication("v1", AS_OF, "hash", dt.datetime(2026, 7, 1))
                write_publication(session, Place(file.stem, "main"), published)
        with duckdb.connect(str(self.home.private_marts)) as session:
            session.execute(
                "create table user_identifiers (user_id varchar, id_type varchar, id varchar, last_seen_at timestamp)"
            )
            self._fill(session, "user_identifiers", [(*row, dt.datetime(2026, 6, 1)) for row in identifiers])
        with duckdb.connect(str(self.home.marts)) as session:
            session.execute("create table user_wide (user_id varchar)")
            session.execute(
                "create table user_identities (user_id varchar, id_type varchar, id_hash varchar)"
            )
            session.execute(
                "create table user_merges (user_id varchar, current_user_id varchar, kind varchar)"
            )
            session.execute(
                "create table contact_policy_decisions (activation varchar, user_id varchar, is_allowed boolean, rule varchar)"
            )
            self._fill(session, "user_wide", [(user,) for user in people])
            hashed = [(user, kind, self.hash(kind, id_)) for user, kind, id_ in identifiers]
            self._fill(session, "user_identities", hashed)

    def hash(self, id_type: str, id_: str) -> str:
        """What the ledger keeps of an identifier."""
        return hmac.digest(self.home.secret_key(), f"{id_type}:{id_}".encode(), hashlib.sha256).hex()

    def add(self, mart: str, rows: Sequence[tuple[object, ...]]) -> None:
        """More rows of a published mart."""
        with duckdb.connect(str(self.home.marts)) as session:
            self._fill(session, mart, rows)

    @staticmethod
    def _fill(session: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            session.executemany(f"insert into {table} values ({', '.join('?' * len(rows[0]))})", rows)

    def land(self, name: str, *lines: str) -> Path:
        """A landing file of the home."""
        file = self.home.landing / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    def take(self, now: dt.datetime = NOW) -> None:
        """Take in what landed."""
        take_in(
            self.home,
            self.settings,
            self.home.landing,
            now=now,
            business_day=self.settings.business_day(now),
        )
