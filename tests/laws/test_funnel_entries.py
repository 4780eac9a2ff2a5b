"""The SQL of a funnel finds what a search over all chains finds, for every mode and option."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.specs.funnel_sql import entries_sql
from orchestration.specs.funnels import Funnel
from tests.laws.funnel_support import declare, render

ZONE = ZoneInfo("Asia/Shanghai")
START = dt.datetime(2026, 1, 31, 15, 57, tzinfo=dt.UTC)  # three minutes before midnight and a new month
MINUTE_US = 60_000_000


# --- the meaning, by trying everything -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Event:
    at_us: int
    activity: str
    channel: str | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the model must say of one key and entry unit."""

    entry_date: dt.date | None
    entered_us: int
    completed_us: int
    level: int
    seconds: tuple[float, ...]


def steps_of(funnel: Funnel, event: Event) -> set[int]:
    return {s.position for s in funnel.steps if _matches(s.match, event)}


def _matches(match: Any, event: Event) -> bool:
    if event.activity not in match.activities:
        return False
    return match.where is None or event.channel == match.where.values[0]


def chains(funnel: Funnel, events: list[Event]) -> Iterator[tuple[int, int, int]]:
    """(start, end, length) of every chain that counts, windows aside."""
    roles = [steps_of(funnel, event) for event in events]

    def extend(chosen: list[int]) -> Iterator[list[int]]:
        if chosen:
            yield chosen
        for number in range(len(events)):
            if number not in chosen and len(chosen) + 1 in roles[number]:
                yield from extend([*chosen, number])

    for chosen in extend([]):
        times = [events[number].at_us for number in chosen]
        if counts(funnel, events, chosen, times):
            yield min(times), max(times), len(chosen)


def counts(funnel: Funnel, events: list[Event], chosen: list[int], times: list[int]) -> bool:
    spec = funnel.spec
    if spec.order == "any_order":
        return True
    if any(b < a or (spec.strict_increase and b == a) for a, b in itertools.pairwise(times)):
        return False
    if spec.order == "strict":
        return all(n in chosen or not times[0] < e.at_us < times[-1] for n, e in enumerate(events))
    for exclusion in funnel.exclusions:
        # As soon as it happens, an attempt between the two steps comes no further.
        if len(times) > exclusion.first:
            low, high = times[exclusion.first - 1], times[min(len(times), exclusion.last) - 1]
            if any(_matches(exclusion.match, e) and low < e.at_us < high for e in events):
                return False
    return True


def unit_date(at_us: int, unit: str) -> dt.date | None:
    day = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=at_us)).astimezone(ZONE).date()
    if unit == "all":
        return None
    if unit == "month":
        return day.replace(day=1)
    return day - dt.timedelta(days=day.weekday()) if unit == "week" else day


def expected(funnel: Funnel, events: list[Event]) -> dict[str, set[Entry]]:
    """Entries of one key for each window."""
    found = list(chains(funnel, events))
    count = len(funnel.steps)
    result: dict[str, set[Entry]] = {}
    for window in funnel.windows:
        limit = None if window.seconds is None else window.seconds * 1_000_000
        inside = [chain for chain in found if limit is None or chain[1] - chain[0] <= limit]
        attempts: dict[int, tuple[int, int]] = {}  # start → (level, completed)
        for start in {chain[0] for chain in inside}:
            level = max(length for s, _, length in inside if s == start)
            attempts[start] = (level, min(end for s, end, length in inside if s == start and length == level))
        if funnel.spec.entry == "per_day":
            last = {
                end: max(s for s, a in attempts.items() if a == (count, end))
                for _, end in attempts.values()
                if any(a == (count, end) for a in attempts.values())
            }
            for start, (level, end) in list(attempts.items()):
                if level == count and last[end] != start:
                    if count == 1:
                        continue
                    attempts[start] = (count - 1, done(funnel, events, found, start)[count - 2])
        best: dict[dt.date | None, tuple[int, int, int]] = {}
        for start, (level, end) in attempts.items():
            unit = unit_date(start, funnel.entry_unit)
            best[unit] = max(best.get(unit, (0, 0, 0)), (level, -end, start))
        entries = set()
        for unit, (level, minus_end, start) in best.items():
            moments = done(funnel, events, found, start)
            seconds = tuple((b - a) / 1_000_000 for a, b in itertools.pairwise(moments[:level]))
            entries.add(Entry(unit, start, -minus_end, level, seconds))
        result[window.funnel] = entries
    return result


def done(funnel: Funnel, events: list[Event], found: list[tuple[int, int, int]], start: int) -> list[int]:
    """The earliest moment at which steps 1 … k are done in an attempt that begins at `start`, for each k."""
    if funnel.spec.order != "any_order":
        by_length = [
            min((end for s, end, n in found if s == start and n == k), default=-1)
            for k in range(1, len(funnel.steps) + 1)
        ]
        return [moment for moment in by_length if moment >= 0]
    return [
        moment
        for k in range(1, len(funnel.steps) + 1)
        if (moment := min((end for s, end, n in found if s >= start and n == k), default=-1)) >= 0
    ]


# --- running -----------------------------------------------------------------------------------------------


def _text(value: str | None) -> str:
    return "null" if value is None else f"'{value}'"


def run(
    funnel: Funnel,
    keys: Mapping[tuple[int, str | None], list[Event]],
    *,
    streams: bool,
    as_of: str = "2026-03-01",
) -> dict[tuple[int, str | None], dict[str, set[Entry]]]:
    """The compiled model over these events: key → window → entries."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; set preserve_insertion_order = false; set threads = 2")
        connection.execute(f"set variable as_of = date '{as_of}'")
        connection.execute(
            "create table int_funnels__events(user_key bigint, activity varchar, occurred_us bigint, channel varchar, product_id varchar)"
        )
        rows = [
            f"({user}, '{event.activity}', {event.at_us}, {_text(event.channel)}, {_text(value)})"
            for (user, value), events in keys.items()
            for event in events
        ]
        random.Random(0).shuffle(rows)
        connection.execute(f"insert into int_funnels__events values {', '.join(rows)}")
        connection.execute(
            "create table int_identity__users as select distinct user_key, 'u' || user_key as user_id from int_funnels__events"
        )
        seconds = ", ".join(f"step_{step.position}_seconds" for step in funnel.steps[1:])
        found = connection.execute(
            f"select user_id, correlation_value, funnel, entry_date, epoch_us(entered_at), epoch_us(completed_at), level, {seconds} "
            f"from ({render(entries_sql(funnel), streams=streams)})"
        ).fetchall()
    result: dict[tuple[int, str | None], dict[str, set[Entry]]] = {
        key: {window.funnel: set() for window in funnel.windows} for key in keys
    }
    for user_id, value, name, entry_date, entered, completed, level, *gaps in found:
        entry = Entry(entry_date, entered, completed, level, tuple(gap for gap in gaps if gap is not None))
        entries = result[int(user_id[1:]), value][name]
        assert entry not in entries
        entries.add(entry)
    return result


def some_keys(
    seed: int, activities: str, *, step_us: int, constant: bool, users: int = 25
) -> dict[tuple[int, str | None], list[Event]]:
    """Random events on few moments, so that ties, windows and midnights are met often."""
    source = random.Random(seed)
    start_us = int(START.timestamp()) * 1_000_000
    keys = {}
    for user in range(1, users + 1):
        for value in ("p", "q") if constant else (None,):
            moments = source.choice((3, 5, 8))
            keys[user, value] = [
                Event(
                    start_us + source.randrange(moments) * step_us,
                    source.choice(activities),
                    source.choice(("w", "s")),
                )
                for _ in range(source.randrange(1, 7))
            ]
    return keys


@st.composite
def funnels(draw: st.DrawFn) -> Funnel:
    order = draw(st.sampled_from(["ordered", "ordered", "ordered", "strict", "any_order"]))
    count = draw(st.integers(2, 4))
    if draw(st.booleans()):
        activities = draw(st.permutations("abcd"))[:count]
        steps: list[dict[str, Any]] = [
            {"name": f"s{n}", "activity": name} for n, name in enumerate(activities, 1)
        ]
    else:
        steps = [
            {
                "name": f"s{n}",
                "activity": tuple(draw(st.sets(st.sampled_from("abc"), min_size=1, max_size=2))),
            }
            for n in range(1, count + 1)
        ]
    for step in steps:
        if draw(st.integers(0, 4)) == 0:
            step["where"] = {"column": "channel", "eq": "w"}
    fields: dict[str, Any] = {"steps": steps, "order": order}
    if order != "any_order":
        fields["strict_increase"] = draw(st.booleans())
    if order == "ordered" and draw(st.booleans()):
        exclusions = []
        for _ in range(draw(st.integers(1, 2))):
            first = draw(st.integers(1, count - 1))
            last = draw(st.integers(first + 1, count))
            exclusions.append(
                {"between": (f"s{first}", f"s{last}"), "activity": draw(st.sampled_from("xya"))}
            )
        fields["exclusion"] = tuple(exclusions)
    fields["windows"] = ("1m", "2m", "4m", "none")
    fields["entry"] = draw(st.sampled_from(["once", "once", "per_day"]))
    fields["period"] = draw(st.sampled_from([("all",), ("all", "month"), ("week",), ("day", "all", "month")]))
    if draw(st.integers(0, 3)) == 0:
        fields["hold_constant"] = "product_id"
    return declare(**fields)


STEPS_US = [MINUTE_US, MINUTE_US, MINUTE_US // 2, MINUTE_US + 1]


def check(funnel: Funnel, seed: int, step_us: int, *, streams: bool) -> None:
    keys = some_keys(seed, "abcdxyz", step_us=step_us, constant=funnel.spec.hold_constant is not None)
    found = run(funnel, keys, streams=streams)
    for key, events in keys.items():
        assert found[key] == expected(funnel, events), (key, events)


CASES = {
    "funnel": funnels(),
    "seed": st.integers(0, 2**32),
    "step_us": st.sampled_from(STEPS_US),
    "streams": st.booleans(),
}


@given(**CASES)
@settings(max_examples=30, deadline=None)
def test_every_mode_finds_what_a_search_over_all_chains_finds(
    funnel: Funnel, seed: int, step_us: int, streams: bool
) -> None:
    check(funnel, seed, step_us, streams=streams)


@pytest.mark.long
@given(**CASES)
@settings(max_examples=500, deadline=None)
def test_many_funnels_find_what_a_search_over_all_chains_finds(
    funnel: Funnel, seed: int, step_us: int, streams: bool
) -> None:
    check(funnel, seed, step_us, streams=streams)
