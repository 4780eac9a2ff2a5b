"""The business day that the warehouse holds in full, from which a build of a later day may go on.

Going forward from day P to day D is allowed when the warehouse holds P, and P computed today would be the same: same
input, settings, project, key (all in the input hash of P), and raw files that nobody touched since. Everything else is
rebuilt from the raw files. What is in doubt is rebuilt. See dbt_project/docs/decisions/0008-state-day.md.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestration.home import Home
from orchestration.ingestion.contracts import HEAVY_TABLES
from orchestration.ingestion.registry import Registry
from orchestration.settings import Settings
from orchestration.warehouse.project import input_hash


def _mark(home: Home) -> Path:
    return home.warehouse.with_name("state_day.json")


def held_day(home: Home, settings: Settings) -> dt.date | None:
    """The day that the warehouse holds in full, as it would be computed now; None when there is none."""
    mark = _mark(home)
    # With late rows included a row may count that arrived days ago: what a day adds is not what arrived on it.
    if settings.history.late_rows == "include" or not (mark.exists() and home.warehouse.exists()):
        return None
    try:
        day, built_from, raw_files = json.loads(mark.read_text())
        since = dt.date.fromisoformat(day)
    except (ValueError, TypeError):
        return None
    return since if [built_from, raw_files] == _built_from(home, settings, since) else None


def _built_from(home: Home, settings: Settings, as_of: dt.date) -> list[str]:
    """What a day is a function of, and the raw files as they lie there: one changed by hand has another stamp."""
    return [
        input_hash(home, settings, as_of),
        Registry(home).raw_stamp(settings.history.known_until(as_of)),
    ]


def forward_from(home: Home, settings: Settings, as_of: dt.date) -> dt.date | None:
    """The day from which a build of `as_of` may go on, or None when everything must be built anew."""
    since = held_day(home, settings)
    if since is None or since > as_of:
        return None
    # Rows of a heavy table that no longer count would have to be found and taken back: built anew instead.
    if Registry(home).withdrawn_tables(since, as_of) & HEAVY_TABLES:
        return None
    return since


def forget_state_day(home: Home) -> None:
    """Say that the warehouse holds no day in full: a build has begun."""
    _mark(home).unlink(missing_ok=True)


@contextmanager
def moving_to(
    home: Home, settings: Settings, as_of: dt.date, *, anew: bool = False, whole: bool = True
) -> Iterator[dt.date | None]:
    """One build of `as_of`: yields the day it may go forward from, None to build anew (always with `anew`).

    The mark goes before the build and comes back after it, so that a build that fails or is killed, or whose data tests
    fail, leaves none; nor does one that is not `whole`.
    """
    since = None if anew else forward_from(home, settings, as_of)
    # Before the build: what changes while it goes on is not what was built from.
    built_from = _built_from(home, settings, as_of)
    forget_state_day(home)
    yield since
    if whole:
        mark = _mark(home)
        part = mark.with_suffix(".part")
        part.write_text(json.dumps([as_of.isoformat(), *built_from]))
        part.replace(mark)
