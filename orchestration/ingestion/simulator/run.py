"""The simulation from beginning to end."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from orchestration.errors import UsageError
from orchestration.ingestion.simulator.behaviour import Events, Wandering, plan_events
from orchestration.ingestion.simulator.brand import found_brand
from orchestration.ingestion.simulator.dealings import Dealings, find_leads, lead_events
from orchestration.ingestion.simulator.facts import (
    EventFiles,
    clicks_as_events,
    write_orders,
    write_refunds,
    write_touches,
)
from orchestration.ingestion.simulator.landing import Landing
from orchestration.ingestion.simulator.outreach import Outreach
from orchestration.ingestion.simulator.population import populate
from orchestration.ingestion.simulator.profiles import Profiles
from orchestration.ingestion.simulator.purchases import experiment_truth, hold_trial, plan_orders
from orchestration.ingestion.simulator.references import write_costs, write_references, write_targets
from orchestration.ingestion.simulator.truth import FOLDER, write_truth
from orchestration.ingestion.simulator.window import DAY, Window

# Exports come weekly from the customer systems, monthly from the smaller ones, daily from shop and pages.
WEEK, MONTH = 7, 30
# Above this many events their files are Parquet, else JSON lines.
MOST_JSON_EVENTS = 2_000_000
_MOST_EVENTS_PER_USER = 50.0
DEFAULT_END = dt.date(2026, 6, 30)


@dataclass(frozen=True)
class SimulationResult:
    """What was written: the landing folder, the folder of planted truth, good rows by table (late and repeated
    events included), broken lines by table, and counts of everything else that was planted."""

    landing: Path
    truth: Path
    end: dt.date
    files: int
    rows: dict[str, int]
    broken: dict[str, int]
    planted: dict[str, int]

    def to_dict(self) -> dict[str, object]:
        """The result as plain values."""
        return {**asdict(self), "landing": str(self.landing), "truth": str(self.truth), "end": str(self.end)}


def simulate(
    out: Path,
    *,
    users: int,
    days: int,
    seed: int = 7,
    end: dt.date = DEFAULT_END,
    on_progress: Callable[[str], object] | None = None,
    events_per_user: float | None = None,
) -> SimulationResult:
    """Writes a landing folder of a beauty brand with `users` people over the `days` up to `end`.

    The same arguments give the same bytes on every machine. `events_per_user` is the mean over the window,
    about; by default 0.3 a day, at most 50. `on_progress` is told after every day. Truth lies
    in `out/_truth`. Raises UsageError if a number is out of range or `out` holds something.
    """
    if not 20 <= users <= 9_000_000:
        raise UsageError(f"--users {users}: give a number from 20 to 9000000.")
    if not 1 <= days <= 1_500:
        raise UsageError(f"--days {days}: give a number from 1 to 1500.")
    if seed < 0:
        raise UsageError(f"--seed {seed}: give a number from 0.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty. Give a folder that does not exist yet, or empty it.")
    part = out.with_name(f"{out.name}.part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    window = Window(end, days)
    wanted = users * (min(0.3 * days, _MOST_EVENTS_PER_USER) if events_per_user is None else events_per_user)
    landing = Landing(part, window, seed, parquet_events=wanted > MOST_JSON_EVENTS)
    try:
        planted = _write_all(landing, window, seed, users, wanted, on_progress)
    finally:
        landing.close()
    if out.exists():
        out.rmdir()
    part.rename(out)
    broken: dict[str, int] = {}
    for (table, _), count in landing.broken.items():
        broken[table] = broken.get(table, 0) + count
    return SimulationResult(
        landing=out,
        truth=out / FOLDER,
        end=end,
        files=len(landing.files),
        rows=dict(landing.rows),
        broken=broken,
        planted=planted,
    )


def _write_all(
    landing: Landing,
    window: Window,
    seed: int,
    users: int,
    wanted: float,
    on_progress: Callable[[str], object] | None,
) -> dict[str, int]:
    brand = found_brand(window, seed, users)
    people = populate(window, seed, users, brand)
    trial = hold_trial(window, seed, people)
    orders = plan_orders(window, seed, people, brand, trial)
    leads = find_leads(window, seed, people)
    planned = plan_events(window, seed, people, brand, orders, lead_events(seed, leads))
    wandering = Wandering.prepare(window, people, len(planned), wanted)
    outreach = Outreach(window, seed, people, brand, orders, 0.15 * wanted / users)
    profiles = Profiles(seed, people, brand, orders)
    dealings = Dealings(window, seed, people, brand, orders, leads, trial)
    event_files = EventFiles(window, seed, people, landing)

    write_references(landing, window, brand)
    write_targets(landing, window, people, orders)
    weeks = window.periods(WEEK)
    starts = {first: (number, first, last) for number, (first, last) in enumerate(weeks)}
    ends = {last: first for first, last in weeks}
    month_ends = {last: first for first, last in window.periods(MONTH)}
    clicks: Events | None = None
    for day in range(window.days):
        if day in starts:
            number, first, last = starts[day]
            touches = outreach.period(number, first, last)
            write_touches(landing, people, touches, last)
            clicks = clicks_as_events(seed, number, people, touches, brand)
        parts = [wandering.day(window, seed, day, people, brand)]
        low, high = np.searchsorted(planned.moment, [day * DAY, (day + 1) * DAY])
        parts.append(planned.take(slice(int(low), int(high))))
        if clicks is not None:
            parts.append(clicks.take(np.flatnonzero(clicks.moment // DAY == day)))
        event_files.write(day, Events.join(parts))
        write_orders(landing, people, orders, dealings.coupon_of_order, day)
        if day in ends:
            first = ends[day]
            profiles.write_contacts(landing, first, day)
            profiles.write_members(landing, first, day)
            profiles.write_links(landing, first, day)
            write_refunds(landing, orders, first, day)
        if day in month_ends:
            first = month_ends[day]
            dealings.write(landing, outreach, first, day)
            write_costs(landing, window, seed, people, brand, first, day)
        if on_progress is not None:
            on_progress(f"simulated day {day + 1} of {window.days}")
    landing.repeat_files()
    planted = {
        "late_events": event_files.late,
        "repeated_events": event_files.repeated,
        "anonymous_events": event_files.anonymous,
        "repeated_files": len(landing.repeated_files),
        "broken_lines": sum(landing.broken.values()),
        "test_devices": profiles.test_device_count,
        "order_versions": landing.rows["orders"] - len(orders.person),
    }
    write_truth(
        landing, landing.folder / FOLDER, window, people, experiment_truth(people, orders, trial), planted
    )
    return planted
