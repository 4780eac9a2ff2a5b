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
from dataclasses import asdict, dataclass
from typing import Literal

from orchestration.activation.lines import Line
from orchestration.home import Home

LOGGER = logging.getLogger("jingxi.alerts")
LOGGER.addHandler(logging.NullHandler())


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
    folder = home.path / "activation"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "failing.json", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        failing: dict[str, str] = json.loads(file.read() or "{}")
        name = f"{line.activation}/{line.destination}"
        if ok == (name not in failing):
            return None
        if ok:
            since = failing.pop(name)
            told = f"{line.activation} works again; it had failed since {since}."
        else:
            failing[name] = moment
            told = f"{line.activation} failed: {sentence}"
        file.seek(0)
        file.truncate()
        file.write(json.dumps(failing))
    alert = Alert("recovered" if ok else "failed", line.activation, line.destination, moment, told)
    home.logs.mkdir(parents=True, exist_ok=True)
    with (home.logs / "alerts.log").open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(alert), ensure_ascii=False) + "\n")
    LOGGER.warning(told)
    return alert
