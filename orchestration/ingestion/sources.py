"""Where data comes from: a landing folder, the simulator, or a dataset's adapter."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestration.errors import UsageError
from orchestration.home import Home, Origin
from orchestration.ingestion.datasets import list_datasets, load_dataset, prepare
from orchestration.ingestion.simulator import simulate
from orchestration.settings import Settings

LANDING = "landing"
SAMPLE = "sample"
SAMPLE_USERS = 5_000
SAMPLE_DAYS = 120
SAMPLE_AS_OF = dt.date(2026, 6, 30)


@dataclass(frozen=True)
class Brought:
    """What lies in the landing folder now. `explained` says where every source line went."""

    landing: Path
    files: int
    explained: dict[str, Any] = field(default_factory=dict)


def dataset_names() -> list[str]:
    """Names that `--dataset` takes."""
    return [SAMPLE, *list_datasets()]


def default_as_of(dataset: str, settings: Settings) -> dt.date:
    """The day a run is for when none is named: a dataset's own day, else the last complete business day."""
    if dataset == SAMPLE:
        return SAMPLE_AS_OF
    if dataset == LANDING:
        return settings.business_day() - dt.timedelta(days=1)
    return load_dataset(dataset).as_of


def landing_folder(home: Home) -> Path:
    """Where files of this home land: the folder that it was filled from, else its own."""
    origin = home.origin() or Origin(LANDING)
    return Path(origin.folder) if origin.dataset == LANDING and origin.folder else home.landing


def bring(
    origin: Origin, home: Home, settings: Settings, *, on_progress: Callable[[str], object] | None = None
) -> Brought:
    """Fill the landing folder. Raises UsageError or IntakeError with what to get and where."""
    explained: dict[str, Any] = {}
    landing = home.landing
    if origin.dataset == LANDING:
        landing = Path(origin.folder) if origin.folder else home.landing
        if not landing.is_dir():
            raise UsageError(f"The landing folder {landing} does not exist. Name a folder with --landing.")
    elif origin.dataset == SAMPLE:
        _bring_sample(home, on_progress)
    else:
        source = Path(origin.folder) if origin.folder else None
        explained = prepare(
            load_dataset(origin.dataset), source, home, settings, on_progress=on_progress
        ).to_dict()
    files = sum(1 for file in landing.rglob("*") if file.is_file() and not file.name.startswith((".", "_")))
    return Brought(landing, files, explained)


def _bring_sample(home: Home, on_progress: Callable[[str], object] | None) -> None:
    """Simulate once, aside, and move it in whole: a run killed here starts over."""
    done = home.state / "sample.json"
    if done.exists():
        return
    if any(home.landing.iterdir()):
        raise UsageError(
            f"{home.landing} holds files already, and the sample would replace them. Take them in with "
            f"--landing {home.landing}, or give the sample a home of its own with --home."
        )
    aside = home.temp / "sample"
    shutil.rmtree(aside, ignore_errors=True)
    if on_progress:
        on_progress(f"Simulating a beauty brand: {SAMPLE_USERS:,} persons, {SAMPLE_DAYS} days")
    simulate(aside, users=SAMPLE_USERS, days=SAMPLE_DAYS, end=SAMPLE_AS_OF)
    shutil.rmtree(home.landing, ignore_errors=True)
    aside.rename(home.landing)
    done.write_text(json.dumps({"users": SAMPLE_USERS, "days": SAMPLE_DAYS}) + "\n")
