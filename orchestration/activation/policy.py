"""What the contact policy tells the engine: who is left alone, when a run is planned and once more when it is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import duckdb

from orchestration.activation.lines import Line

NO_DECISION = "no_decision"


class ContactPolicy(Protocol):
    """Decides who may be reached. Reasons are short codes; removals are never asked about."""

    def held(
        self, session: duckdb.DuckDBPyConnection, line: Line, now: dt.datetime
    ) -> Iterable[tuple[str, str]]:
        """(user_id, reason) of those of the temp table `planned_users(user_id)` whom the line may not reach.

        The session has `marts` and `private` attached.
        """
        ...

    def refused_now(self, line: Line, users: Sequence[str], now: dt.datetime) -> Mapping[str, str]:
        """user_id → reason of those who may not be reached at this moment: consent, erasure, quiet hours, caps."""
        ...
