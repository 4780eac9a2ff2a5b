"""Benchmark: taking events in against bare `read_csv` to Parquet, in one run.

    python -m tests.benchmarks.intake [--records 10000000] [--folder DIR]

Prints seconds and the ratio of both ways in which a file arrives: on one day (`dt=` in the path), and as a bulk
load of history (one raw file per business day). The goal is a ratio of at most 4.
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


def main() -> None:
    """Run the benchmark, each measurement in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--step", choices=("bare", "day", "bulk"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        _step(arguments.step, arguments.folder, arguments.records)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_events(folder / "day" / "events" / "dt=2026-01-01" / "events.csv", arguments.records)
        bulk = folder / "bulk" / "events" / "events.csv"
        bulk.parent.mkdir(parents=True)
        bulk.hardlink_to(folder / "day" / "events" / "dt=2026-01-01" / "events.csv")
        size = bulk.stat().st_size
        sys.stdout.write(f"{arguments.records:,} events, {size / 1e6:,.0f} MB of CSV\n")
        reference = None
        for step, label in (
            ("bare", "read_csv to Parquet"),
            ("day", "intake, one day"),
            ("bulk", "intake, 365 days"),
        ):
            seconds, peak = _measure(step, folder, arguments.records)
            reference = reference or seconds
            sys.stdout.write(
                f"{label:22s} {seconds:8.1f} s  {seconds / reference:5.2f} x  {peak / 1024:7,.0f} MB at most\n"
            )
            shutil.rmtree(folder / f"home-{step}", ignore_errors=True)
        sys.stdout.write(f"goal: at most {GOAL:.0f} x\n")


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
