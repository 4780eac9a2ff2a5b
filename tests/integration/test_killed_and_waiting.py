"""Runs that are killed, and runs that meet each other."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import pytest

from tests.command import EXECUTABLE, environment, jingxi, marts

AS_OF = "2026-06-30"


def _new_day(home: Path, landing: Path) -> None:
    """A home whose next run has something new to take in."""
    orders = landing / "orders" / f"dt={AS_OF}"
    orders.mkdir(parents=True)
    (orders / "late.csv").write_text(
        "order_id,ordered_at,amount,id_type,id\n"
        + "".join(f"late-{n},{AS_OF} 12:00:00,{100 + n},phone,1990000{n:04d}\n" for n in range(50))
    )


def _start(home: Path, landing: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [EXECUTABLE, "run", "--home", home, "--landing", landing, "--as-of", AS_OF],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _publication(home: Path) -> tuple[object, ...]:
    with duckdb.connect(str(home / "published" / "marts.duckdb"), read_only=True) as connection:
        return connection.execute(
            "select version, (select count(*) from user_wide), (select sum(orders_count) from user_wide) from publication"
        ).fetchall()[0]


@pytest.mark.long
def test_killed_at_any_moment_readers_see_the_old_version_and_the_next_run_completes(
    small_home: Path, tmp_path: Path
) -> None:
    landing = tmp_path / "landing"
    _new_day(small_home, landing)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(small_home, undisturbed, symlinks=True)
    started = time.monotonic()
    process = _start(undisturbed, landing)
    process.communicate()
    assert process.returncode == 0
    whole = time.monotonic() - started
    expected = marts(undisturbed)

    home = tmp_path / "home"
    shutil.copytree(small_home, home, symlinks=True)
    before = _publication(home)
    chance = random.Random(20260630)
    for _ in range(3):
        process = _start(home, landing)
        until = time.monotonic() + chance.uniform(0.15, 0.8) * whole
        while time.monotonic() < until and process.poll() is None:
            assert _publication(home) == before
            time.sleep(0.2)
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert _publication(home) == before
    jingxi("run", "--home", home, "--landing", landing, "--as-of", AS_OF)
    assert _publication(home) != before
    assert marts(home) == expected


def test_a_second_run_waits_and_says_for_whom(small_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(small_home, home, symlinks=True)
    landing = home / "landing"
    first = _start(home, landing)
    deadline = time.monotonic() + 60
    while not (home / "run.lock").read_text().count(str(first.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGSTOP)  # for as long as it takes to look
    refused = jingxi("run", "--home", home, "--landing", landing, "--as-of", AS_OF, "--no-wait", status=1)
    assert f"process {first.pid}" in refused.err
    assert f"jingxi run --as-of {AS_OF}" in refused.err
    second = _start(home, landing)
    assert second.stdout
    assert f"Waiting for jingxi run --as-of {AS_OF} (process {first.pid}" in second.stdout.readline()
    os.kill(first.pid, signal.SIGCONT)
    for process in (first, second):
        out, _ = process.communicate()
        assert process.returncode == 0, out


def test_dbt_ends_with_the_run_that_started_it() -> None:
    child_script = (
        "import threading, time; from orchestration.warehouse import dbt_process;"
        "dbt_process.watch_parent(); print('watching', flush=True); time.sleep(60)"
    )
    parent_script = (
        "import os, subprocess, sys, time;"
        "os.environ['JINGXI_RUN_PROCESS'] = str(os.getpid());"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE, text=True);"
        "print(child.pid, child.stdout.readline(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [EXECUTABLE.with_name("python"), "-c", parent_script, child_script],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert parent.stdout
    pid, word = parent.stdout.readline().split()
    assert word == "watching"
    child = Path(f"/proc/{pid}/stat")

    def gone() -> bool:
        # A zombie is one that its new parent has not collected yet.
        return not child.exists() or child.read_text().rsplit(")", 1)[-1].split()[0] == "Z"

    time.sleep(1)
    assert not gone()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while not gone():
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.1)
