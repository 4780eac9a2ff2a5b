from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.command import REAL_SIZE, jingxi


@contextmanager
def _made_once(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that all workers of this run share; one of them at a time may fill it."""
    base = factory.getbasetemp()
    # A worker's own folder lies in the one that all workers share.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home built once from a small simulated brand; all workers share it. Copy it before changing it or opening its Dagster storage."""
    with _made_once(tmp_path_factory, "small") as shared:
        home = shared / "home"
        if not (home / "first_run.json").exists():
            landing = shared / "landing"
            jingxi("simulate", "--users", "600", "--days", "90", "--out", landing)
            run = jingxi("run", "--landing", landing, "--as-of", "2026-06-30", "--home", home, "--json")
            (home / "first_run.json").write_text(run.out)
    return home


@pytest.fixture(scope="session")
def online_retail_home(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 305 days of Online Retail taken in and built at once; all workers share it. Copy it before changing it."""
    with _made_once(tmp_path_factory, "online_retail") as shared:
        home = shared / "home"
        if not (home / "first_run.json").exists():
            source = ("--dataset", "online_retail", "--source", shared_data / "online_retail")
            run = jingxi("run", *source, "--home", home, "--as-of", "2011-12-10", *REAL_SIZE, "--json")
            (home / "first_run.json").write_text(run.out)
    return home
