"""`jingxi push` and `jingxi retry`: activation, with its progress and its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestration.activation.activate import Outcome, Plan
from orchestration.activation.ledger import Run, SwitchOff
from orchestration.activation.lines import Line
from orchestration.activation.push import Progress
from orchestration.activation.service import Desk, chosen_lines, open_desk
from orchestration.errors import JingxiError, UsageError
from orchestration.home import Home
from orchestration.settings import Settings

_RUNS_SHOWN = 20


@dataclass(frozen=True)
class PushOrder:
    """What `jingxi push` or `jingxi retry` was asked for."""

    home: Home
    settings: Settings
    name: str | None = None
    destination: str | None = None
    dry_run: bool = False
    approve: str | None = None
    retry: bool = False


def push(order: PushOrder, console: Console | None) -> tuple[list[dict[str, Any]], bool]:
    """Push the chosen lines one after the other; numbers of each, and whether all is well.

    A line that fails does not keep the next ones from being pushed. Raises UsageError.
    """
    desk = open_desk(order.home, order.settings, tell=_Teller(console))
    try:
        if order.approve:
            outcome = desk.approve(order.approve)
            _show(console, [outcome.to_dict()])
            return [outcome.to_dict()], outcome.ok
        lines = chosen_lines(desk.lines, order.name, order.destination)
        if order.dry_run:
            # A retry asks the destination again.
            off = {} if order.retry else desk.ledger.switched_off()
            plans = [
                (line, desk.dry_run(line, retry=order.retry), off.get(line.destination)) for line in lines
            ]
            _show_plans(console, plans)
            return [
                {
                    "activation": line.activation,
                    **plan.to_dict(),
                    "switched_off": switch.sentence if switch else "",
                }
                for line, plan, switch in plans
            ], True
        done: list[dict[str, Any]] = []
        well = True
        for line in lines:
            told, ok = _push_one(desk, line, order.retry)
            done.append(told)
            well &= ok
        _show(console, done)
        return done, well
    finally:
        desk.close()


def _push_one(desk: Desk, line: Line, retry: bool) -> tuple[dict[str, Any], bool]:
    try:
        outcome: Outcome = desk.push(line, retry=retry)
    except UsageError:
        raise
    except JingxiError as error:
        failed = {"activation": line.activation, "destination": line.destination, "state": "failed"}
        return {**failed, "reason": str(error)}, False
    return outcome.to_dict(), outcome.ok


def show_runs(order: PushOrder, console: Console | None) -> list[dict[str, Any]]:
    """The last runs that the ledger knows, the latest first."""
    desk = open_desk(order.home, order.settings)
    try:
        runs = [
            run
            for run in desk.ledger.runs(limit=_RUNS_SHOWN * 10)
            if order.name in (None, run.activation, run.audience)
            and order.destination in (None, run.destination)
        ][:_RUNS_SHOWN]
    finally:
        desk.close()
    if console:
        _show(console, [_of_run(run) for run in runs])
    return [_of_run(run) for run in runs]


def decide(
    order: PushOrder, run_id: str, *, arrived: Path | None, sent: bool, console: Console | None
) -> dict[str, Any]:
    """Write down what a person knows of the records in doubt. Raises JingxiError."""
    told: bool | Sequence[str] = sent
    if arrived is not None:
        try:
            told = [
                line.strip() for line in arrived.read_text(encoding="utf-8-sig").splitlines() if line.strip()
            ]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{arrived} cannot be read as UTF-8 text with one key per line.") from error
    desk = open_desk(order.home, order.settings)
    try:
        run = desk.decide(run_id, sent=told)
    finally:
        desk.close()
    _show(console, [_of_run(run)])
    return _of_run(run)


def _of_run(run: Run) -> dict[str, Any]:
    names = ("activation", "destination", "state", "reason", "added", "changed", "removed", "planned")
    numbers = ("accepted", "rejected", "in_doubt", "held")
    return {
        "run": run.run_id,
        "as_of": run.as_of.isoformat(),
        **{name: getattr(run, name) for name in (*names, *numbers)},
    }


class _Teller:
    """Says on the terminal how far a line is, at most once a per cent."""

    def __init__(self, console: Console | None) -> None:
        self.console = console
        self.last: dict[str, object] = {}

    def __call__(self, line: Line, progress: Progress) -> None:
        if self.console is None:
            return
        share = 100 * progress.done // max(progress.planned, 1)
        now = (share, progress.waiting_for)
        if self.last.get(line.activation) == now:
            return
        self.last[line.activation] = now
        waiting = f", waiting for {progress.waiting_for}" if progress.waiting_for else ""
        text = f"{line.activation}: {progress.done:,} of {progress.planned:,}{waiting}"
        _say(self.console, text)


def _show(console: Console | None, done: Sequence[Mapping[str, Any]]) -> None:
    """What became of each line, on lines that fit a narrow terminal."""
    if console is None:
        return
    if not done:
        _say(console, "There is no activation line; `jingxi new activation NAME` begins one.")
    for one in done:
        run = f", run {one['run']}" if one.get("run") else ""
        _say(console, f"{one['activation']} → {one['destination']}: {one['state'].replace('_', ' ')}{run}")
        if one.get("planned"):
            parts = (
                ("accepted", "accepted"),
                ("rejected", "rejected"),
                ("in_doubt", "in doubt"),
                ("held", "held"),
            )
            sums = " + ".join(f"{one.get(name, 0):,} {title}" for name, title in parts)
            # Before it is sent, nothing has become of anything.
            waits = one["state"] == "awaiting_approval"
            _say(console, f"  {one['planned']:,} planned" + ("" if waits else f" = {sums}"))
        for word, name in (("held", "held_by"), ("rejected", "rejected_by")):
            if one.get(name):
                _say(console, f"  {word}: {_counted(one[name])}")
        _explain(console, one)


def _explain(console: Console, one: Mapping[str, Any]) -> None:
    if one["state"] == "awaiting_approval":
        _say(console, f"  {one['reason']} When that is right: jingxi push --approve {one['run']}")
    elif one.get("reason"):
        _say(console, f"  {one['reason']}")
    if one.get("in_doubt"):
        _say(
            console,
            f"  {one['in_doubt']:,} records in doubt; the next push asks or sends again where that does no harm, else: "
            "jingxi retry --run RUN --sent, --not-sent or --arrived FILE (jingxi push --runs lists runs)",
        )


def _show_plans(console: Console | None, plans: Sequence[tuple[Line, Plan, SwitchOff | None]]) -> None:
    if console is None:
        return
    for line, plan, switch in plans:
        _say(console, f"{line.activation} → {line.destination} ({line.mode}): nothing was sent")
        if switch:
            _say(console, f"  would not be sent: {switch.sentence}")
        _say(
            console,
            f"  {plan.added:,} added, {plan.changed:,} changed, {plan.removed:,} removed, {plan.unchanged:,} unchanged; "
            f"{plan.held_out:,} held out",
        )
        if plan.held:
            _say(console, f"  held: {_counted(plan.held)}")
        for sentence in plan.objections:
            _say(console, f"  would wait for approval: {sentence}")


def _counted(by_code: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {code}" for code, number in sorted(by_code.items()))


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
