"""Benchmark: the wide table, built whole and taken from day to day, against a bare aggregate, in one run.

    python -m tests.benchmarks.wide [--users 200000] [--days 400] [--short 100] [--folder DIR] [--results FILE]

A brand is simulated and taken in. The yardstick is a hash-aggregate of the brand's events by an integer user, by DuckDB alone,
from a Parquet file. The wide table with all it needs is built whole and then taken through four days, once with `--days` of history
and once with `--short`. The brand's shop and pages deliver every day, its customer systems every week, the smaller ones every month: of the four days
one bears a week's files and one a month's, and a day's cost is the mean of such a month. For every model wall-clock and processor
seconds are taken as dbt starts and ends it; what dbt itself needs for it is measured on a brand of a few users, and left out. As the
yardstick's file, the warehouse lies in the system's memory before each build.
Three sums are told: the behaviour chain (events and messages up to their columns of the wide table), which goes forward; of it, what starts
from the typed stream, as the yardstick does; and everything that the wide table needs.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from orchestration.home import Home
from orchestration.ingestion.intake import take_in
from orchestration.ingestion.simulator.run import DEFAULT_END, MONTH, WEEK, simulate
from orchestration.settings import Settings, load_settings
from orchestration.warehouse.project import dbt_args, dbt_environment, input_hash
from orchestration.warehouse.session import closes_gaps
from orchestration.warehouse.state_day import moving_to
from tests.benchmarks.results import Measured, table

TYPING = (
    "int_activity__event_keys",
    "stg_raw__touches",
    "int_activity__stream",
    "int_activity__kinds",
    "int_activity__subjects",
)
# What the engine does when the warehouse is closed: it puts in its place what all models have written, and once a week moves rows
# together. All of it is counted to the behaviour.
CLOSING = "closing"
CHAIN = (
    *TYPING,
    CLOSING,
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
# How many days of a month bear which files.
IN_A_MONTH = {"month": 1.0, "week": MONTH / WEEK, "ordinary": MONTH - 1 - MONTH / WEEK}
Kind = TypeVar("Kind")
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

    def times(self, factor: float) -> Cost:
        """A multiple."""
        return Cost(self.wall * factor, self.processor * factor)


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
    """All figures, with `days` and `short` days of history. `short` must be below `days` and above the longest window (90 days)."""
    started = time.perf_counter()
    small = _brand(folder / "small", _FEW_USERS, _FEW_DAYS)
    home = _brand(folder / "home", users, days + MONTH)
    prepared = time.perf_counter() - started
    overhead = {
        "full": _build(small, DEFAULT_END - dt.timedelta(days=1)).models,
        "day": _build(small, DEFAULT_END).models,
    }
    whole, taken = {}, {}
    for label, history in (("short", short), ("long", days)):
        _empty(home)
        walk = measured_days(DEFAULT_END - dt.timedelta(days=days + MONTH - history))
        whole[label] = _build(home, walk[0] - dt.timedelta(days=1))
        taken[label] = [(day, _build(home, day)) for day in walk]
        if any(build.since != (day - dt.timedelta(days=1)).isoformat() for day, build in taken[label]):
            raise SystemExit(f"a day was built anew: {[build.since for _, build in taken[label]]}")
        taken[label] = _closed_as_usual(taken[label])
    events, yardstick = _yardstick(home, folder / "events.parquet")
    builds = [*whole.values(), *(build for walk in taken.values() for _, build in walk)]
    figures: dict[str, Any] = {
        "users": users,
        "days": days,
        "short": short,
        "events": events,
        "prepared_seconds": round(prepared, 1),
        "yardstick": vars(yardstick),
        "memory_mb": max(build.memory for build in builds),
        "known_users": {label: walk[-1][1].users for label, walk in taken.items()},
        "files_of": {
            label: {day.isoformat(): files_of(day) for day, _ in walk} for label, walk in taken.items()
        },
    }
    typed = tuple(name for name in CHAIN if name not in TYPING)
    for name, models in (("chain", CHAIN), ("typed", typed), ("everything", None)):
        figures[name] = {}
        for label, build in whole.items():
            figures[name][f"{label}_full"] = vars(build.of(models, overhead["full"]))
            costs = [(files_of(day), one.of(models, overhead["day"])) for day, one in taken[label]]
            figures[name][f"{label}_days"] = {
                files: vars(mean_day(costs, {files: 1})) for files in IN_A_MONTH
            }
            figures[name][f"{label}_day"] = vars(mean_day(costs, IN_A_MONTH))
    figures["models"] = {
        label: {
            "full": {
                name: vars(cost.less(overhead["full"].get(name, Cost(0, 0))))
                for name, cost in whole[label].models.items()
            },
            **{
                day.isoformat(): {
                    name: vars(cost.less(overhead["day"].get(name, Cost(0, 0))))
                    for name, cost in build.models.items()
                }
                for day, build in walk
            },
        }
        for label, walk in taken.items()
    }
    return figures


def files_of(day: dt.date) -> str:
    """What the brand delivers on a day besides events and orders: the files of a `month` or a `week`, or nothing (`ordinary`)."""
    before_end = (DEFAULT_END - day).days
    return "month" if before_end % MONTH == 0 else "week" if before_end % WEEK == 0 else "ordinary"


def measured_days(about: dt.date) -> list[dt.date]:
    """Four days in a row, as near to `about` as can be: one that bears a month's files, one with a week's, two ordinary ones; one
    of them begins an ISO week."""
    for distance in range(WEEK * MONTH):
        for begin in (about - dt.timedelta(days=distance), about + dt.timedelta(days=distance)):
            walk = [begin + dt.timedelta(days=number) for number in range(4)]
            kinds = sorted(map(files_of, walk))
            begins_a_week = any(map(_closes_gaps, walk))
            if (
                kinds == ["month", "ordinary", "ordinary", "week"]
                and begins_a_week
                and walk[-1] < DEFAULT_END
            ):
                return walk
    raise ValueError(f"no four such days near {about}")


def _closed_as_usual(walk: list[tuple[dt.date, Build]]) -> list[tuple[dt.date, Build]]:
    """The same with the mean over a week of what closing the warehouse costs: one of the days begins a week."""
    costs = [(_closes_gaps(day), build.models[CLOSING]) for day, build in walk]
    usual = mean_day(costs, {True: 1, False: 6})
    return [(day, replace(build, models={**build.models, CLOSING: usual})) for day, build in walk]


def _closes_gaps(day: dt.date) -> bool:
    return closes_gaps(day, day - dt.timedelta(days=1))


def mean_day(costs: Sequence[tuple[Kind, Cost]], days: Mapping[Kind, float]) -> Cost:
    """The mean over so many days of each kind. Raises ValueError when none of a kind was measured."""
    total = Cost(0, 0)
    for wanted, number in days.items():
        those = [cost for kind, cost in costs if kind == wanted]
        if not those:
            raise ValueError(f"no day measured is {wanted}")
        for cost in those:
            total += cost.times(number / len(those))
    return total.times(1 / sum(days.values()))


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

    rows = [
        ratio(f"behaviour built whole ({what})", chain["long_full"], "wall", FULL_GOAL),
        ratio("behaviour, one day further (mean of a month)", chain["long_day"], "wall", DAY_WALL_GOAL),
        ratio("behaviour, one day further (mean of a month)", chain["long_day"], "CPU", DAY_CPU_GOAL),
        growth("behaviour", chain, GROWTH_GOAL),
        ratio("of it, from the typed stream: built whole", typed["long_full"], "wall", None),
        ratio("of it, from the typed stream: one day further", typed["long_day"], "CPU", None),
    ]
    for files, words in (
        ("ordinary", "a day of events and orders"),
        ("week", "the day on which a week's messages come"),
        ("month", "the day on which a month's consents, coupons and surveys come"),
    ):
        rows.append(ratio(f"behaviour, {words}", chain["long_days"][files], "CPU", None))
    return [
        *rows,
        ratio("wide table and all it needs, built whole", everything["long_full"], "wall", None),
        ratio(
            "wide table and all it needs, one day further (mean of a month)",
            everything["long_day"],
            "wall",
            None,
        ),
        ratio(
            "wide table and all it needs, one day further (mean of a month)",
            everything["long_day"],
            "CPU",
            None,
        ),
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
    if home.warehouse.exists():
        with home.warehouse.open("rb") as file:
            while file.read(1 << 24):
                pass
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


def _step(path: Path, as_of: dt.date) -> None:
    """One build in this process, from the day that the warehouse holds; prints what each model cost."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
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
        before = _now()
        DuckDBConnectionManager.close_all_connections()
        gc.collect()
        cost = _now().less(before)
        costs[CLOSING] = (cost.wall, cost.processor)
        if home.warehouse.with_name(f"{home.warehouse.name}.wal").exists():
            raise SystemExit("what the build has written is still in the log")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3
    since_day = since.isoformat() if since else None
    sys.stdout.write(json.dumps({"models": costs, "since": since_day, "memory": memory}) + "\n")


if __name__ == "__main__":
    main()
