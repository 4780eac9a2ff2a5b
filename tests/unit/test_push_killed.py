"""A real process, killed with SIGKILL at every named point, and started again: counted at the destination's file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.activation.crash_points import CRASH_POINTS, VARIABLE, CrashPoint
from tests.killed_push import PEOPLE

NEVER_PASSED = {"before_replay", "after_replay"}  # on the first push; killed there on the second, below


def start(folder: Path, at: str = "") -> int:
    """Push in a process of its own; its exit status."""
    environment = {**os.environ, VARIABLE: at}
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed_push", str(folder)], env=environment, timeout=120, check=False
    )
    return done.returncode


def received(folder: Path) -> list[str]:
    return sorted((folder / "received.txt").read_text().split()) if (folder / "received.txt").exists() else []


@pytest.mark.long
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_killed_at_a_point_and_started_again(tmp_path: Path, point: CrashPoint) -> None:
    if point in NEVER_PASSED:
        assert start(tmp_path, "after_call") == -signal.SIGKILL
    assert start(tmp_path, point) == -signal.SIGKILL
    assert start(tmp_path) == 0
    assert received(tmp_path) == sorted(PEOPLE)
    assert start(tmp_path) == 0
    assert received(tmp_path) == sorted(PEOPLE)


@pytest.mark.parametrize("point", ["after_sending", "after_call"])
def test_killed_around_the_call(tmp_path: Path, point: CrashPoint) -> None:
    assert start(tmp_path, point) == -signal.SIGKILL
    assert start(tmp_path) == 0
    assert received(tmp_path) == sorted(PEOPLE)
