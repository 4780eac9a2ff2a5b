"""An activation line: one audience on its way to one destination, as the engine needs it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from pydantic import JsonValue

from orchestration.activation.ledger import LineKey
from orchestration.destinations.protocol import Mode

FieldKind = Literal["column", "tag", "identifier", "value"]


@dataclass(frozen=True)
class LineField:
    """One field of the destination and where its value comes from: `source` is a column of user_wide (or user_id,
    entered_date), a tag or an identifier type; of kind value it is the value itself."""

    name: str
    kind: FieldKind
    source: JsonValue


@dataclass(frozen=True)
class LineGuard:
    """Bounds that hold a run until a person approves it; in percent, a bound itself is allowed.

    max_change_percent: how far the audience's size may be from that of the last finished run.
    max_removed_percent: share of what the destination has that one run may remove.
    """

    max_change_percent: Decimal | int | None = 50
    max_removed_percent: Decimal | int | None = 30


@dataclass(frozen=True)
class Line:
    """A declared activation line. `key` is an identifier type or `user_id`; priority 1 comes first."""

    activation: str
    title: str
    audience: str
    destination: str
    mode: Mode
    purpose: Literal["marketing", "service"]
    channel: str
    key: str
    fields: tuple[LineField, ...]
    priority: int = 100
    guard: LineGuard = LineGuard()
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    content_id: str = ""
    campaign_id: str = ""
    audience_definition: str = ""

    @property
    def ledger_key(self) -> LineKey:
        """What the ledger keeps its state under."""
        return LineKey(self.activation, self.destination)

    def source(self, as_of: dt.date, input_hash: str) -> str:
        """What a run is planned from: publication and declaration. A rerun from the same source sends nothing again."""
        declared = [
            self.audience,
            self.audience_definition,
            self.mode,
            self.key,
            [[one.name, one.kind, one.source] for one in self.fields],
            dict(self.options),
        ]
        digest = hashlib.sha256(json.dumps(declared, sort_keys=True, default=str).encode()).hexdigest()
        return f"{as_of.isoformat()}:{input_hash[:64]}:{digest[:16]}"
