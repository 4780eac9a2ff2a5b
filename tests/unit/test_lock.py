from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestration.errors import LockedError
from orchestration.home import Home
from orchestration.lock import Holder, RunLock

_HOLD = """
import sys, time
from pathlib import Path
from orchestration.home import Home
from orchestration.lock import RunLock
with RunLock(Home(Path(sys.argv[1]))).hold("jingxi run --as-of 2026-06-30"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):  # type: ignore[no-untyped-def]
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_told_for_whom_and_refused(other: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(LockedError) as caught, RunLock(Home(tmp_path)).hold("second", wait=False):
        pass
    assert f"process {other.pid}" in str(caught.value)
    assert "jingxi run --as-of 2026-06-30" in str(caught.value)


def test_a_second_writer_waits_and_then_has_it(other: subprocess.Popen[str], tmp_path: Path) -> None:
    told: list[Holder] = []
    threading.Timer(0.5, other.kill).start()
    with RunLock(Home(tmp_path)).hold("second", on_wait=told.append):
        assert [holder.pid for holder in told] == [other.pid]


def test_the_lock_dies_with_its_holder(other: subprocess.Popen[str], tmp_path: Path) -> None:
    lock = RunLock(Home(tmp_path))
    assert lock.holder() is not None
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    deadline = time.monotonic() + 5
    while lock.holder() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lock.holder() is None


def test_one_process_may_take_it_again(tmp_path: Path) -> None:
    lock = RunLock(Home(tmp_path))
    with lock.hold("outer"), RunLock(Home(tmp_path)).hold("inner", wait=False):
        assert lock.holder() is not None
    assert lock.holder() is None
