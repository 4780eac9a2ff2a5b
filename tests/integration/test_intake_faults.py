from __future__ import annotations

import datetime as dt
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestration.ingestion.registry import Registry
from tests.unit.intake_support import FAR, Place

_CHILD = """
import sys
from pathlib import Path
from tests.unit.intake_support import Place
place = Place(Path(sys.argv[1]))
print("ready", flush=True)
place.take()
"""


def _fill(place: Place) -> None:
    for number in range(12):
        rows = "".join(
            f"{number}-{n},{dt.date(2026, 1, 1) + dt.timedelta(days=n % 20)},{'x' if n % 97 == 0 else n}\n"
            for n in range(2_000)
        )
        place.put(f"orders/{number}.csv", "order_id,ordered_at,amount\n" + rows)
        place.put(
            f"products/{number}.jsonl", "".join(f'{{"product_id": "{number}-{n}"}}\n' for n in range(500))
        )


def _start(place: Place) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(place.landing.parent)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """All of an intake counts or nothing does, and the next one ends like an undisturbed one."""
    undisturbed, killed = Place(tmp_path / "a"), Place(tmp_path / "b")
    _fill(undisturbed)
    _fill(killed)
    started = time.monotonic()
    assert _start(undisturbed).wait() == 0
    seconds = time.monotonic() - started
    moments = random.Random(7)
    for share in (0.2, 0.6, 0.95):
        process = _start(killed)
        time.sleep(seconds * (share + moments.uniform(-0.05, 0.05)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        visible = Registry(killed.home).visible_files(FAR)
        assert all(file.is_file() for files in visible.values() for file in files)
        assert len(visible) in (0, 2)
    result = killed.take()
    assert {file.status for file in result.files} <= {"taken", "already_taken"}
    columns = "* exclude (_taken_in_at)"
    for table in ("orders", "products"):
        assert sorted(map(str, killed.raw(table, columns))) == sorted(
            map(str, undisturbed.raw(table, columns))
        )
        assert sorted(killed.rejects(table, "file, line, reason")) == sorted(
            undisturbed.rejects(table, "file, line, reason")
        )
    assert killed.raw_files() == undisturbed.raw_files()
    assert Registry(killed.home).input_hash(FAR) == Registry(undisturbed.home).input_hash(FAR)


@pytest.mark.long
def test_many_small_files_and_bounded_memory(tmp_path: Path) -> None:
    """A file larger than the memory limit, and many small ones."""
    place = Place(tmp_path)
    with place.put("orders/dt=2026-01-01/large.csv", "").open("w") as handle:
        handle.write("order_id,ordered_at,amount,note\n")
        for start in range(0, 1_500_000, 50_000):
            handle.write(
                "".join(f"{n},2026-01-01,1,{'note ' * 30}{n}\n" for n in range(start, start + 50_000))
            )
    for number in range(200):
        place.put(f"products/dt=2026-01-01/{number}.csv", f"product_id\n{number}\n")
    result = place.take("engine.memory_limit=200MB", "engine.threads=2")
    assert result.tables["orders"].accepted == 1_500_000
    assert result.tables["products"].files == 200
