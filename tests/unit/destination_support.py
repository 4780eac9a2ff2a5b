"""Runs and batches for tests of destinations."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from orchestration.destinations.clock import Clock, SystemClock
from orchestration.destinations.protocol import (
    Batch,
    Destination,
    Operation,
    Outcome,
    Record,
    RunInfo,
    Session,
)
from orchestration.destinations.registry import Surroundings, build


def key_of(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


def record(
    key: str, fields: Mapping[str, JsonValue] | None = None, operation: Operation = "upsert", run: str = "r1"
) -> Record:
    return Record(key, operation, fields or {}, key_of(run, key, operation))


def batch_of(records: Sequence[Record]) -> Batch:
    return Batch(tuple(records), key_of(*(own.idempotency_key for own in records)))


def run_of(fields: Sequence[str] = (), **changes: Any) -> RunInfo:
    facts: dict[str, Any] = {
        "run_id": "01k0000000000000000000run1",
        "activation": "vip_to_test",
        "audience": "vip",
        "destination": "there",
        "as_of": dt.date(2026, 1, 31),
        "mode": "upsert",
        "purpose": "marketing",
        "channel": "wecom",
        "key_type": "contact_id",
        "fields": tuple(fields),
        "planned": 10,
        "started_at": dt.datetime(2026, 2, 1, 2, 0, tzinfo=dt.UTC),
        "options": {},
    }
    return RunInfo(**{**facts, **changes})


def build_in(
    home: Path, kind: str, clock: Clock | None = None, name: str = "there", **settings: Any
) -> Destination:
    return build(name, {"kind": kind, **settings}, Surroundings(home, clock or SystemClock()))


def send_all(session: Session, records: Sequence[Record], size: int = 100) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for start in range(0, len(records), size):
        outcomes += session.send(batch_of(records[start : start + size]))
    return outcomes
