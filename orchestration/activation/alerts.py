"""One sentence when a line fails for the first time, and one when it works again; never one for each try in between.

Alerts are lines of JSON in `<home>/logs/alerts.log` and warnings of the logger `jingxi.alerts`, to which a company attaches
whatever wakes its people up. They hold names of lines, states and codes, no personal data.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

from orchestration.activation.lines import Line
from orchestration.home import Home

LOGGER = logging.getLogger("jingxi.alerts")
LOGGER.addHandler(logging.NullHandler())
FAILING = "failing.json"


@dataclass(frozen=True)
class Alert:
    """What people are told."""

    kind: Literal["failed", "recovered"]
    activation: str
    destination: str
    at: str
    sentence: str


def note(
    home: Home, line: Line, *, ok: bool, sentence: str = "", now: dt.datetime | None = None
) -> Alert | None:
    """Note how a push of a line ended; the alert that this is, None when nothing changed since the last one."""
    moment = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).isoformat(timespec="seconds")
    try:
        with _alone(home):
            failing = _read(home)
            since = failing.pop(name := f"{line.activation}/{line.destination}", None)
            if ok == (since is None):
                return None
            if ok:
                told = f"{line.activation} works again; it had failed since {since}."
            else:
                failing[name] = moment
                told = f"{line.activation} failed: {sentence}"
            alert = Alert("recovered" if ok else "failed", line.activation, line.destination, moment, told)
            _write(home, failing)
            home.logs.mkdir(parents=True, exist_ok=True)
            with (home.logs / "alerts.log").open("a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(alert), ensure_ascii=False) + "\n")
    except OSError as error:
        # A full disk is what an alert may be about: it does not keep people from hearing of it.
        LOGGER.warning("The alert on %s cannot be kept in %s: %s", line.activation, home.path, error.strerror)
        if ok:
            return None
        told = f"{line.activation} failed: {sentence}"
        alert = Alert("failed", line.activation, line.destination, moment, told)
    LOGGER.warning(told)
    return alert


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    folder = home.path / "activation"
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(folder / "failing.lock", os.O_RDWR | os.O_CREAT, 0o600)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(home: Home) -> dict[str, str]:
    """Lines that fail, and since when."""
    try:
        told = json.loads((home.path / "activation" / FAILING).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _write(home: Home, failing: Mapping[str, str]) -> None:
    """Whole or not at all."""
    file = home.path / "activation" / FAILING
    part = file.with_suffix(".new")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(json.dumps(failing))
    part.replace(file)
