from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.command import jingxi


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home built once from a small simulated brand; all workers share it. Copy it before changing it."""
    base = tmp_path_factory.getbasetemp()
    # A worker's own folder lies in the one that all workers of this run share.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "jingxi"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        home = shared / "home"
        if not (home / "first_run.json").exists():
            landing = shared / "landing"
            jingxi("simulate", "--users", "600", "--days", "90", "--out", landing)
            run = jingxi("run", "--landing", landing, "--as-of", "2026-06-30", "--home", home, "--json")
            (home / "first_run.json").write_text(run.out)
    return home
