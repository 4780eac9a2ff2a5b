"""Guards: what nobody expected is seen by a person before the first call."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import duckdb

from orchestration.activation.ledger import Run
from orchestration.activation.lines import Line
from orchestration.errors import HeldError
from orchestration.home import Home
from orchestration.ingestion.sources import LANDING
from orchestration.publishing.audience_guard import SizeGuard, hold_back
from orchestration.publishing.health import read_health
from orchestration.publishing.publication import Publication
from orchestration.settings import Settings


@dataclass(frozen=True)
class Facts:
    """What the guards judge: numbers of one plan, and how old and sound what it was made from is.

    source_rows: members who are not held out. sendable: rows that would be sent. acknowledged: keys that the destination
    has. now is aware.
    """

    home: Home
    settings: Settings
    line: Line
    publication: Publication
    source_rows: int
    sendable: int
    removed: int
    acknowledged: int
    last: Run | None
    audience_guard: SizeGuard | None
    audience_members: int
    now: dt.datetime


def objections(facts: Facts) -> list[str]:
    """Why a person has to look first, in sentences without personal data; none when there is nothing to send."""
    if not facts.sendable:
        return []
    found = [*_size(facts), *_removals(facts), *_age(facts), *_checks(facts)]
    return [f"{facts.line.activation}: {sentence}" for sentence in found]


def _size(facts: Facts) -> list[str]:
    allowed, last = facts.line.guard.max_change_percent, facts.last
    if not facts.source_rows:
        return [f"the audience {facts.line.audience} is empty."]
    if allowed is None or last is None:
        return []
    change = abs(facts.source_rows - last.source_rows)
    if 100 * change <= allowed * last.source_rows:
        return []
    word = "more" if facts.source_rows > last.source_rows else "fewer"
    share = f"{100 * change / last.source_rows:.1f} % " if last.source_rows else ""
    return [
        f"{facts.source_rows:,} members are {share}{word} than the {last.source_rows:,} of {last.as_of}, and its guard "
        f"allows {allowed} %."
    ]


def _removals(facts: Facts) -> list[str]:
    allowed = facts.line.guard.max_removed_percent
    if allowed is None or 100 * facts.removed <= allowed * facts.acknowledged:
        return []
    return [
        f"{facts.removed:,} of the {facts.acknowledged:,} that the destination has would be removed, and its guard allows "
        f"{allowed} %."
    ]


def _age(facts: Facts) -> list[str]:
    """Published long ago; or of an old day, unless the data set is a bundled one, which has one day for ever."""
    limit = facts.settings.activation.max_age_days
    published = (facts.now.astimezone(dt.UTC).replace(tzinfo=None) - facts.publication.published_at).days
    if published > limit:
        return [f"the marts were published {published} days ago: run `jingxi run` first."]
    origin = facts.home.origin()
    behind = (facts.settings.business_day(facts.now) - facts.publication.as_of).days
    if origin is not None and origin.dataset == LANDING and behind > limit:
        return [f"the marts describe {facts.publication.as_of}, {behind} days ago: run `jingxi run` first."]
    return []


def _checks(facts: Facts) -> list[str]:
    """Tests of the warehouse block publication; what does not is judged here: the audience's own guard, data health."""
    found = []
    if facts.audience_guard is not None:
        try:
            hold_back(
                facts.home,
                facts.line.audience,
                facts.audience_guard,
                facts.publication.as_of,
                facts.audience_members,
            )
        except HeldError as held:
            found.append(str(held))
    try:
        failed = [one for one in read_health(facts.home.marts, "main")[1] if one.status == "fail"]
    except duckdb.Error:
        failed = []
    if failed:
        tables = ", ".join(sorted({one.table for one in failed}))
        found.append(f"checks of the input failed ({tables}): see `jingxi doctor`.")
    return found
