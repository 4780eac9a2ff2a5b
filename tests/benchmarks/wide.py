"""Benchmark: the wide table, built whole and taken one day further, against a bare aggregate, in one run.

    python -m tests.benchmarks.wide [--users 200000] [--days 400] [--short 100] [--folder DIR] [--results FILE]

A brand is simulated and taken in. The yardstick is a hash-aggregate of the brand's events by an integer user, by DuckDB alone,
from a Parquet file. The wide table with all it needs is built for the day before the last one and taken to the last day, and the same
`--short` days after the beginning; a day is built three times, and the middle one counts. For every model wall-clock and processor
seconds are taken as dbt starts and ends it; what dbt itself needs for it is measured on a brand of a few users, and left out.
Three sums are told: the behaviour chain (events and messages up to their columns of the wide table), which goes forward; of it, what starts
from the typed stream, as the yardstick does; and everything that the wide table needs.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.home import Home
from orchestration.ingestion.intake import take_in
from orchestration.ingestion.simulator.run import DEFAULT_END, simulate
from orchestration.settings import Settings, load_settings
from orchestration.warehouse.project import dbt_args, dbt_environment, input_hash
from orchestration.warehouse.state_day import moving_to
from tests.benchmarks.results import Measured, table

TYPING = (
    "int_activity__event_keys",
    "stg_raw__touches",
    "int_activity__stream",
    "int_activity__kinds",
    "int_activity__subjects",
)
CHAIN = (
    *TYPING,
    "int_activity__owners",
    "int_activity__moves",
    "int_activity__last_moments",
    "int_users__touchpoints",
    "int_users__activity",
    "int_users__surveys",
    "int_users__behaviour",
    "int_users__response",
)
FULL_GOAL, DAY_WALL_GOAL, DAY_CPU_GOAL, GROWTH_GOAL = 22.0, 3.0, 2.0, 1.15
USERS, SMALL_USERS, DAYS, SHORT_DAYS = 1_000_000, 2_000, 400, 100
_OVERRIDES = ("engine.memory_limit=2GB", "history.days=1")
_FEW_USERS, _FEW_DAYS = 40, 30


@dataclass(frozen=True)
class Cost:
    """Wall-clock and processor seconds."""

    wall: float
    processor: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.processor + other.processor)

    def less(self, other: Cost) -> Cost:
        """What is left without the other; never below zero."""
        return Cost(max(0.0, self.wall - other.wall), max(0.0, self.processor - other.processor))


@dataclass(frozen=True)
class Build:
    """One build: the cost of each model, and the most memory the process ever held, in MB."""

    models: dict[str, Cost]
    since: str | None
    memory: float
    users: int

    def of(self, names: tuple[str, ...] | None, overhead: Mapping[str, Cost]) -> Cost:
        """The sum over some models (or all) without what dbt itself needs for each."""
        none = Cost(0, 0)
        chosen = {name: cost for name, cost in self.models.items() if names is None or name in names}
        return sum((cost.less(overhead.get(name, none)) for name, cost in chosen.items()), none)


def main() -> None:
    """Run the benchmark, each build in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--short", type=int, default=100)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where to work and keep the brand for the next time; a temporary folder by default",
    )
    parser.add_argument("--results", type=Path, help="also write the figures there, as JSON")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        _step(Path(arguments.step[0]), dt.date.fromisoformat(arguments.step[1]))
        return
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        figures = take_figures(folder, arguments.users, arguments.days, arguments.short)
    sys.stdout.write(table(ratios(figures)) + "\n")
    if arguments.results:
        arguments.results.write_text(json.dumps(figures, indent=2))


def measure(small: bool) -> list[Measured]:
    """The ratios for a million users, or for two thousand."""
    with tempfile.TemporaryDirectory() as name:
        return ratios(take_figures(Path(name), SMALL_USERS if small else USERS, DAYS, SHORT_DAYS))


def take_figures(folder: Path, users: int, days: int, short: int) -> dict[str, Any]:
    """All figures. `short` must be below `days` and above the longest window (90 days)."""
    started = time.perf_counter()
    small = _brand(folder / "small", _FEW_USERS, _FEW_DAYS)
    home = _brand(folder / "home", users, days)
    prepared = time.perf_counter() - started
    small_full = _build(small, DEFAULT_END - dt.timedelta(days=1))
    small_day = _build(small, DEFAULT_END)
    short_end = DEFAULT_END - dt.timedelta(days=days - short)
    builds = {}
    for label, last in (("short", short_end), ("long", DEFAULT_END)):
        _empty(home)
        builds[label, "full"] = _build(home, last - dt.timedelta(days=1))
        builds[label, "day"] = _median_day(home, last)
    events, yardstick = _yardstick(home, folder / "events.parquet")
    overhead = {"full": small_full.models, "day": small_day.models}
    figures: dict[str, Any] = {
        "users": users,
        "days": days,
        "short": short,
        "events": events,
        "prepared_seconds": round(prepared, 1),
        "yardstick": vars(yardstick),
        "memory_mb": max(build.memory for build in builds.values()),
        "known_users": {label: builds[label, "day"].users for label in ("short", "long")},
        "went_on_from": {f"{label}_{kind}": build.since for (label, kind), build in builds.items()},
    }
    typed = tuple(name for name in CHAIN if name not in TYPING)
    for name, models in (("chain", CHAIN), ("typed", typed), ("everything", None)):
        figures[name] = {
            f"{label}_{kind}": {
                **vars(build.of(models, overhead[kind])),
                "with_dbt": vars(build.of(models, {})),
            }
            for (label, kind), build in builds.items()
        }
    figures["models"] = {
        f"{label}_{kind}": {
            model: vars(cost.less(overhead[kind].get(model, Cost(0, 0))))
            for model, cost in build.models.items()
        }
        for (label, kind), build in builds.items()
    }
    return figures


def ratios(figures: Mapping[str, Any]) -> list[Measured]:
    """The figures as multiples of the yardstick."""
    yardstick, chain, everything = figures["yardstick"], figures["chain"], figures["everything"]
    typed = figures["typed"]
    what = f"{figures['users']:,} users, {figures['events'] / 1e6:.1f} M events"
    aggregate = "DuckDB aggregate of the events by integer user"
    peak = figures["memory_mb"]

    def ratio(label: str, cost: Mapping[str, float], measure: str, goal: float | None) -> Measured:
        name = "processor" if measure == "CPU" else "wall"
        return Measured(label, aggregate, cost[name], cost[name] / yardstick[name], goal, measure, peak)

    def growth(label: str, costs: Mapping[str, Mapping[str, float]], goal: float | None) -> Measured:
        """Per user: a brand knows fewer of them after a short time."""
        seconds = costs["long_day"]["processor"]
        users = figures["known_users"]
        return Measured(
            f"{label}: a day after {figures['days']} days, per user ({users['long']:,} known)",
            f"the same after {figures['short']} days ({users['short']:,} known)",
            seconds,
            seconds / users["long"] / max(costs["short_day"]["processor"] / users["short"], 1e-9),
            goal,
            "CPU",
            peak,
        )

    return [
        ratio(f"behaviour built whole ({what})", chain["long_full"], "wall", FULL_GOAL),
        ratio("behaviour, one day further", chain["long_day"], "wall", DAY_WALL_GOAL),
        ratio("behaviour, one day further", chain["long_day"], "CPU", DAY_CPU_GOAL),
        growth("behaviour", chain, GROWTH_GOAL),
        ratio("of it, from the typed stream: built whole", typed["long_full"], "wall", None),
        ratio("of it, from the typed stream: one day further", typed["long_day"], "CPU", None),
        ratio("wide table and all it needs, built whole", everything["long_full"], "wall", None),
        ratio("wide table and all it needs, one day further", everything["long_day"], "wall", None),
        ratio("wide table and all it needs, one day further", everything["long_day"], "CPU", None),
        growth("wide table and all it needs", everything, None),
    ]


def _brand(folder: Path, users: int, days: int) -> Home:
    """A home that has taken in a simulated brand."""
    home, landing = Home(folder / "home"), folder / "landing"
    if not landing.exists():
        simulate(landing, users=users, days=days)
    _empty(home)
    now = dt.datetime.now(dt.UTC)
    take_in(home, _settings(home), landing, now=now, business_day=DEFAULT_END)
    return home


def _settings(home: Home) -> Settings:
    return load_settings(home, overrides=_OVERRIDES)[0]


def _empty(home: Home) -> None:
    """Without a warehouse a build is of the whole: it would go on from any day held, however long ago."""
    shutil.rmtree(home.warehouse.parent, ignore_errors=True)
    home.create()


def _yardstick(home: Home, file: Path) -> tuple[int, Cost]:
    """Events, and the cost of the best of three aggregates of them by an integer user."""
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        connection.execute("set memory_limit = '2GB'")
        connection.execute(
            f"""
            copy (
                select cast(users.user_key as integer) as user_key, events.occurred_at
                from intermediate.int_activity__stream as events
                inner join intermediate.int_activity__owners as owners on owners.actor_key = events.actor_key
                inner join intermediate.int_identity__users as users on users.user_id = owners.user_id
                where events.removed_on is null
            ) to '{file}' (format parquet)
            """
        )
    costs = []
    with duckdb.connect() as connection:
        for _ in range(3):
            before = _now()
            connection.execute(
                f"create or replace table aggregate as select user_key, count(*) as n, min(occurred_at) as first_at, "
                f"max(occurred_at) as last_at from '{file}' group by user_key"
            )
            costs.append(_now().less(before))
        (row,) = connection.execute("select cast(sum(n) as bigint) from aggregate").fetchall()
    return int(row[0]), min(costs, key=lambda cost: cost.processor)


def _now() -> Cost:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Cost(time.perf_counter(), used.ru_utime + used.ru_stime)


def _build(home: Home, as_of: dt.date) -> Build:
    output = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.wide", "--step", str(home.path), as_of.isoformat()],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    figures = json.loads(output.splitlines()[-1])
    models = {name: Cost(*cost) for name, cost in figures["models"].items()}
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        (row,) = connection.execute("select count(*) from marts.user_wide").fetchall()
    return Build(models, figures["since"], figures["memory"], int(row[0]))


def _median_day(home: Home, as_of: dt.date) -> Build:
    """The middle one, by the behaviour's processor seconds, of three builds that start from the same warehouse: where the
    engine's checkpoints fall, one model pays for what others have written."""
    held, kept = home.warehouse.parent, home.path / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    held.rename(kept)
    builds = []
    for _ in range(3):
        shutil.rmtree(held, ignore_errors=True)
        shutil.copytree(kept, held)
        builds.append(_build(home, as_of))
    shutil.rmtree(kept)
    return sorted(builds, key=lambda build: build.of(CHAIN, {}).processor)[1]


def _step(path: Path, as_of: dt.date) -> None:
    """One build in this process, from the day that the warehouse holds; prints what each model cost."""
    from dbt.cli.main import dbtRunner
    from dbt_common.events.base_types import EventMsg

    home = Home(path)
    settings = _settings(home)
    begun: dict[str, Cost] = {}
    costs: dict[str, tuple[float, float]] = {}

    def on_event(event: EventMsg) -> None:
        if event.info.name == "NodeStart":
            begun[event.data.node_info.node_name] = _now()
        elif event.info.name == "NodeFinished" and event.data.node_info.resource_type == "model":
            name = event.data.node_info.node_name
            cost = _now().less(begun[name])
            costs[name] = (cost.wall, cost.processor)

    with moving_to(home, settings, as_of) as since:
        os.environ.update(dbt_environment(home, settings, as_of, input_hash(home, settings, as_of), since))
        arguments = dbt_args("build", settings, select=("+user_wide",), tests=False)
        outcome = dbtRunner(callbacks=[on_event]).invoke([*arguments, "--quiet"])
        if not outcome.success:
            raise SystemExit(f"dbt failed: {outcome.exception or home.logs}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3
    since_day = since.isoformat() if since else None
    sys.stdout.write(json.dumps({"models": costs, "since": since_day, "memory": memory}) + "\n")


if __name__ == "__main__":
    main()
