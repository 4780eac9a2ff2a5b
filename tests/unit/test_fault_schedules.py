"""Random schedules of faults and crashes: counted at the destination, nothing arrives twice and nothing is lost.

A schedule is a seed. It draws how people come, change and leave, what fails at each call, and where the process dies;
then faults cease, and what remains must come right by itself (a person decides only where nobody else can).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import get_args

import pytest

from orchestration.activation.crash_points import CrashPoint
from orchestration.activation.ledger import Ledger
from orchestration.home import Home
from tests.activation_support import (
    KEYS,
    Crash,
    Engine,
    Faults,
    Kind,
    ListPlanner,
    RowsInMemory,
    Server,
    balances,
    line,
    quick_ledger,
)

KINDS: tuple[Kind, ...] = get_args(Kind)


def one_schedule(seed: int, folder: Path, ledger: Ledger) -> tuple[int, int, int]:
    """Run one schedule; returns calls, crashes and how many took effect. Raises AssertionError."""
    draw = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    people = {f"p{i}": "1" for i in range(draw.randint(1, 14))} | {
        f"bad{i}": "1" for i in range(draw.randint(0, 2))
    }
    server = Server(kind, frozenset(key for key in people if key.startswith("bad")), Faults(draw, 0.35))
    planner = ListPlanner(ledger, dict(people), version=f"{seed}-0")
    crash_rate = draw.choice([0.0, 0.03, 0.1])
    one = Engine(
        Home(folder), ledger, server, planner, line("mirror", activation=f"line_{seed}"), payload=RowsInMemory
    )
    crashes = 0

    def crash(_: CrashPoint) -> bool:
        return draw.random() < crash_rate

    one.crash = crash

    def push() -> bool:
        nonlocal crashes
        try:
            return one.activation.push(one.line, one.destination).ok
        except Crash:
            crashes += 1
            return False

    due = {(key, f"upsert:{value}"): 1 for key, value in people.items() if key not in server.bad}
    for day in range(draw.randint(1, 3)):
        planner.version = f"{seed}-{day}"
        if day:
            key = f"n{day}"
            planner.audience[key] = "1"
            due[key, "upsert:1"] = 1
        for _ in range(draw.randint(1, 4)):
            push()
    # The weather clears. Nobody is told what happened before.
    server.faults.rate, crash_rate = 0.0, 0.0
    planner.version = f"{seed}-last"
    for _ in range(6):
        ok = push()
        for run in ledger.runs(one.line.ledger_key, in_doubt=True) if kind == "forgets" else ():
            decide(ledger, server, run.run_id)
            ok = False
        if ok and push():
            break
    else:
        raise AssertionError(f"seed {seed} ({kind}): does not come to an end")
    effects = server.effects()
    twice = {what: times for what, times in effects.items() if times > 1}
    assert not twice, f"seed {seed} ({kind}): twice {twice}"
    assert effects == due, (
        f"seed {seed} ({kind}): lost {due.keys() - effects.keys()}, too many {effects.keys() - due.keys()}"
    )
    assert all(balances(ledger, one.line)), f"seed {seed}"
    assert ledger.acknowledged_count(one.line.ledger_key) == len(due), f"seed {seed}"
    return server.calls, crashes, len(due)


def decide(ledger: Ledger, server: Server, run_id: str) -> None:
    """A person looks at the far side and says who had it."""
    ledger.decide(run_id, sent={KEYS.of_key("phone", key) for key, _ in server.delivered})


def run_schedules(seeds: range, folder: Path) -> tuple[int, int, int]:
    ledger = quick_ledger()
    calls = crashes = effects = 0
    for seed in seeds:
        if seed % 50 == 0:
            ledger.dispose()
            ledger = quick_ledger()
        one = one_schedule(seed, folder, ledger)
        calls, crashes, effects = calls + one[0], crashes + one[1], effects + one[2]
    return calls, crashes, effects


def test_eighty_schedules(tmp_path: Path) -> None:
    calls, crashes, effects = run_schedules(range(80), tmp_path)
    assert crashes > 20 and calls > effects / 4


@pytest.mark.long
def test_ten_thousand_schedules(tmp_path: Path) -> None:
    calls, crashes, effects = run_schedules(range(10_000), tmp_path)
    print(f"10,000 schedules: {calls:,} calls, {crashes:,} crashes, {effects:,} effects, 0 twice, 0 lost")
    assert crashes > 2_500
