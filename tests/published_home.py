"""A home with hand-made published marts: what the planner reads, without a build."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from orchestration.home import Home
from orchestration.publishing.database import Place
from orchestration.publishing.publication import Publication, write_publication

AS_OF = dt.date(2026, 6, 30)


@dataclass
class Person:
    """One member of the audience `winback`."""

    user_id: str
    phone: str | None
    orders: int = 1
    is_holdout: bool = False
    tags: Mapping[str, str | None] = field(default_factory=dict)


def publish(
    folder: Path, people: Sequence[Person], *, version: str = "v1", others: Sequence[Person] = ()
) -> Home:
    """Write marts.duckdb and private.duckdb of one version; `others` are users who are no members."""
    home = Home(folder)
    home.create()
    home.secret_key()
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    publication = Publication(version, AS_OF, f"hash-{version}", now)
    for file in (home.private_marts, home.marts):
        part = file.with_suffix(".part")
        with duckdb.connect(str(part)) as session:
            write_publication(session, Place(part.stem.split(".")[0], "main"), publication)
            everybody = [*people, *others]
            if file == home.private_marts:
                session.execute(
                    "create table user_identifiers (user_id varchar, id_type varchar, id varchar, last_seen_at timestamp)"
                )
                for one in everybody:
                    if one.phone is not None:
                        session.execute(
                            "insert into user_identifiers values (?, 'phone', ?, ?)",
                            [one.user_id, one.phone, now],
                        )
                        # An older phone is never the key.
                        old = now - dt.timedelta(days=9)
                        session.execute(
                            "insert into user_identifiers values (?, 'phone', ?, ?)",
                            [one.user_id, f"old-{one.phone}", old],
                        )
            else:
                session.execute(
                    "create table audience_members (audience varchar, user_id varchar, as_of_date date, entered_date date, "
                    "is_holdout boolean)"
                )
                session.execute(
                    "create table user_wide (user_id varchar, orders_count bigint, net_amount decimal(18,4), "
                    "last_active_date date, last_seen_at timestamp)"
                )
                session.execute(
                    "create table user_tags (user_id varchar, tag varchar, value varchar, weight double)"
                )
                for one in people:
                    session.execute(
                        "insert into audience_members values ('winback', ?, ?, ?, ?)",
                        [one.user_id, AS_OF, AS_OF, one.is_holdout],
                    )
                for one in everybody:
                    session.execute(
                        "insert into user_wide values (?, ?, 12.5, '2026-06-29', '2026-06-29 10:00:00')",
                        [one.user_id, one.orders],
                    )
                    for tag, value in one.tags.items():
                        session.execute(
                            "insert into user_tags values (?, ?, ?, 1)", [one.user_id, tag, value]
                        )
        part.replace(file)
    return home
