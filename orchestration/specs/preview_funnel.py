"""How far users get in a funnel, asked of the published activities."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestration.errors import UsageError
from orchestration.specs.funnel_sql import reached_sql
from orchestration.specs.funnels import Funnel
from orchestration.specs.published import ACTIVITIES, Marts


@dataclass(frozen=True)
class StepPreview:
    """Attempts that reached a step: users, or users with a value or day where the funnel says so. Shares are 0 to 1."""

    step: str
    title: str
    users: int
    of_first: float
    of_previous: float


@dataclass(frozen=True)
class FunnelPreview:
    """Steps by name of the funnel: one for each window. Open windows count, as in users of funnel_metrics."""

    funnel: str
    title: str
    as_of: dt.date
    since: dt.date | None  # first day of the activities that are counted
    windows: dict[str, list[StepPreview]]

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON can hold it."""
        return asdict(self) | {
            "as_of": self.as_of.isoformat(),
            "since": self.since.isoformat() if self.since else None,
        }

    def show(self, console: Console) -> None:
        """Print the result for a person."""
        console.print(f"{self.title} ({self.funnel}) as of {self.as_of}", style="bold", markup=False)
        for name, steps in self.windows.items():
            table = Table("step", "users", "of first", "of previous", title=name, title_justify="left")
            for column in table.columns[1:]:
                column.justify = "right"
            for step in steps:
                shares = (f"{step.of_first:.1%}", f"{step.of_previous:.1%}")
                table.add_row(step.title.replace("[", r"\["), f"{step.users:,}", *shares)
            console.print(table)
        if self.since:
            console.print(
                f"Note: counted are activities since {self.since}, open windows included.", markup=False
            )


def preview_funnel(funnel: Funnel, marts: Marts) -> FunnelPreview:
    """Preview a checked funnel. Raises UsageError for one that needs sessions, which are not published."""
    if "session_id" in funnel.columns:
        raise UsageError(
            f"Funnel {funnel.name} asks for sessions, which are not published: `jingxi compile` and `jingxi run` build it."
        )
    found = {
        (name, int(step)): int(users)
        for name, step, users in marts.session.execute(
            reached_sql(funnel, ACTIVITIES, marts.zone.key)
        ).fetchall()
    }
    windows = {}
    for window in funnel.windows:
        counts = [found.get((window.funnel, step.position), 0) for step in funnel.steps]
        windows[window.funnel] = [
            StepPreview(
                step.name,
                f"{step.label_zh} · {step.label_en}",
                users,
                users / counts[0] if counts[0] else 0.0,
                users / before if before else 0.0,
            )
            for step, users, before in zip(funnel.steps, counts, [counts[0], *counts], strict=False)
        ]
    return FunnelPreview(
        funnel.name,
        f"{funnel.spec.title.zh} · {funnel.spec.title.en}",
        marts.as_of,
        marts.one(f"select min(activity_date) from {ACTIVITIES}"),
        windows,
    )
