"""Benchmark: taking events in against bare `read_csv` to Parquet, in one run.

    python -m tests.benchmarks --only intake

Both ways in which a file arrives: on one day (`dt=` in the path), and as a bulk load of history (one raw file per
business day). The goal is a ratio of at most 4.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from orchestration.home import Home
from orchestration.ingestion.intake import take_in
from orchestration.settings import load_settings
from tests.benchmarks.results import Measured

GOAL = 4.0
_SECONDS_OF_A_YEAR = 31_536_000


def write_events(file: Path, records: int) -> None:
    """A CSV of clean events over one year, in order of time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    duckdb.execute(
        f"""
        copy (
            select
                'member_id' as id_type,
                'M' || lpad(cast((i * 7919) % 500000 as varchar), 8, '0') as id,
                ['view', 'cart', 'search', 'buy'][1 + i % 4] as event_name,
                strftime(
                    timestamp '2025-01-01' + to_microseconds(cast(i * {_SECONDS_OF_A_YEAR / records} * 1000000 as bigint)),
                    '%Y-%m-%d %H:%M:%S'
                ) as occurred_at,
                'E' || lpad(cast(i as varchar), 10, '0') as event_id,
                ['app', 'web', 'mini'][1 + i % 3] as channel,
                'home' as touchpoint,
                'P' || (i % 3000) as product_id,
                case when i % 10 = 0 then 'C' || (i % 20) end as campaign_id,
                'S' || (i // 7) as session_id
            from range({records}) as numbers (i)
        ) to '{file}' (header)
        """
    )


def bare(file: Path, target: Path) -> float:
    """Seconds of `read_csv` to Parquet with the engine's defaults."""
    started = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute(f"copy (select * from read_csv('{file}')) to '{target}' (format parquet)")
    return time.perf_counter() - started


def ours(home: Path, landing: Path, records: int) -> float:
    """Seconds of one intake into a fresh home."""
    settings, _ = load_settings(Home(home))
    started = time.perf_counter()
    result = take_in(
        Home(home), settings, landing, now=dt.datetime.now(dt.UTC), business_day=dt.date(2026, 1, 1)
    )
    seconds = time.perf_counter() - started
    if result.accepted != records:
        raise SystemExit(f"{result.accepted} of {records} records were accepted.")
    return seconds


def measure(small: bool) -> list[Measured]:
    """Both ways of taking in against the bare read, each in a process of its own."""
    records = 500_000 if small else 10_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_events(folder / "day" / "events" / "dt=2026-01-01" / "events.csv", records)
        bulk = folder / "bulk" / "events" / "events.csv"
        bulk.parent.mkdir(parents=True)
        bulk.hardlink_to(folder / "day" / "events" / "dt=2026-01-01" / "events.csv")
        reference, _ = _measure("bare", folder, records)
        results = []
        for step, what in (
            ("day", f"taking in {records / 1e6:g} M events of one day"),
            ("bulk", f"taking in {records / 1e6:g} M events of a year at once"),
        ):
            seconds, peak = _measure(step, folder, records)
            results.append(
                Measured(
                    what,
                    "bare `read_csv` to Parquet",
                    seconds,
                    seconds / reference,
                    GOAL,
                    peak_mb=peak * 1.024e-3,
                )
            )
            shutil.rmtree(folder / f"home-{step}", ignore_errors=True)
    return results


def main() -> None:
    """One step in a process of its own: seconds and kilobytes at most."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--step", choices=("bare", "day", "bulk"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--records", type=int, required=True)
    arguments = parser.parse_args()
    _step(arguments.step, arguments.folder, arguments.records)


def _measure(step: str, folder: Path, records: int) -> tuple[float, float]:
    output = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.benchmarks.intake",
            f"--step={step}",
            f"--folder={folder}",
            f"--records={records}",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    return float(output[0]), float(output[1])


def _step(step: str, folder: Path, records: int) -> None:
    file = folder / "bulk" / "events" / "events.csv"
    if step == "bare":
        seconds = bare(file, folder / "bare.parquet")
    else:
        seconds = ours(folder / f"home-{step}", folder / step, records)
    sys.stdout.write(f"{seconds} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


if __name__ == "__main__":
    main()
