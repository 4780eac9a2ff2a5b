"""Who asked to be erased is taken out of what activation still keeps of them: the payloads of runs that are not over.

The ledger holds keyed hashes only. Files of deliveries are taken in and removed at the beginning of every run.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestration.activation.activate import line_lock
from orchestration.activation.consent import NewestConsents
from orchestration.activation.ledger import Ledger
from orchestration.activation.payload import PayloadFile
from orchestration.errors import JingxiError, LockedError
from orchestration.home import Home
from orchestration.settings import Settings
from orchestration.writing.files import read_json, write_json

ERASED = "erased"


@dataclass(frozen=True)
class Unfinished:
    """Erased people may still be in waiting payloads: `since` when (aware), and why, in a sentence."""

    since: dt.datetime
    reason: str

    @property
    def sentence(self) -> str:
        """What a person has to know and to do."""
        return (
            f"Since {self.since:%Y-%m-%d} people who asked to be erased may still be in waiting payloads of activation: "
            f"{self.reason.rstrip('.')}. When that is mended, `jingxi run` takes them out."
        )


def _mark(home: Home) -> Path:
    return home.path / "activation" / "not_erased.json"


def unfinished_erasure(home: Home) -> Unfinished | None:
    """What keeps erased people in waiting payloads since a run could not take them out; None when nothing does."""
    told = read_json(_mark(home))
    if told is None:
        return None
    return Unfinished(dt.datetime.fromisoformat(told["since"]), told["reason"])


def forget_erased(home: Home, settings: Settings, *, at: dt.datetime) -> int:
    """Take the values of everybody who asked to be erased up to `at` (aware) out of waiting payloads; how many rows.

    Their records stay accounted for: what was not tried is held as `erased`, what is in doubt is left to a person. A line
    that is being pushed at this moment is left to its own end, which removes its payload. Raises JingxiError, which
    `unfinished_erasure` tells until it has worked.
    """
    try:
        rows = _forget_erased(home, settings, at)
    except JingxiError as error:
        earlier = unfinished_erasure(home)
        since = earlier.since if earlier else at
        with suppress(OSError):  # on a full disk, say, what failed is still said
            write_json(_mark(home), {"since": since.isoformat(), "reason": str(error)}, mode=0o600)
        raise
    _mark(home).unlink(missing_ok=True)
    return rows


def _forget_erased(home: Home, settings: Settings, at: dt.datetime) -> int:
    waiting = [PayloadFile(home, file.stem) for file in sorted((home.path / "activation").glob("*.parquet"))]
    if not waiting:
        return 0
    erased = NewestConsents(home, settings).erased(at)
    if not erased:
        return 0
    ledger = Ledger.open(home, settings.activation.ledger_url)
    rows = 0
    try:
        runs = {run.run_id: run for run in ledger.runs_by_id([one.path.stem for one in waiting])}
        for payload in waiting:
            run = runs.get(payload.path.stem)
            if run is None:
                continue  # it is just being planned, or nothing knows of it: the next plan sweeps it
            try:
                with line_lock(home, run.activation):
                    rows += payload.forget(erased, ERASED) if payload.exists else 0
            except LockedError:
                continue
    finally:
        ledger.dispose()
    return rows
