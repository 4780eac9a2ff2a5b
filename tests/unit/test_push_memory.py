"""The memory of a push is that of its batches, not of its changes: the high-water mark of a process that does nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.wecom import FakeWeCom, Limits
from tests.large_push import MEMBERS, contact, publish_many


def most_memory(folder: Path, changes: int) -> float:
    """MiB that the process of a push of so many tag changes held at most; each customer is tagged once."""
    home = publish_many(folder, changes)
    with FakeWeCom(limits=Limits(per_minute=10**9, per_hour=10**9)) as server:
        for number in range(changes):
            server.follow(MEMBERS[number % len(MEMBERS)], contact(number))
        done = subprocess.run(
            [sys.executable, "-m", "tests.large_push", str(home.path), server.url],
            env={**os.environ, "WECOM_SECRET": FakeWeCom.SECRET},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert figures["planned"] == figures["accepted"] == server.accepted_marks == changes
        assert set(server.mark_calls.values()) == {1}
    print(f"{changes:,} changes: {figures}")
    return float(figures["most_memory_mib"])


def test_four_times_the_changes_need_the_same_memory(tmp_path: Path) -> None:
    few, many = most_memory(tmp_path / "few", 500), most_memory(tmp_path / "many", 2_000)
    assert many - few < 25


@pytest.mark.long
def test_ten_times_the_changes_need_hardly_more_memory(tmp_path: Path) -> None:
    few, many = most_memory(tmp_path / "few", 10_000), most_memory(tmp_path / "many", 100_000)
    assert many - few < 100
