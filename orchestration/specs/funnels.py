"""Declared funnels: the typed spec and what must hold in it. The SQL is made in `funnel_sql`.

```yaml
name: shop_view_cart_buy
title: {zh: 浏览 → 加购 → 购买, en: View to cart to purchase}
owner: shop
description: How many of those who look at the shop buy within a week.
steps:
  - {name: view, label: {zh: 浏览, en: View}, activity: view}
  - {name: cart, label: {zh: 加购, en: Add to cart}, activity: cart}
  - name: buy
    label: {zh: 购买, en: Purchase}
    activity: [buy, order_paid]
    where: {column: amount, gt: 0}     # optional, a condition on columns of the activity stream
window: 7d                             # 30m, 36h, 7d or none; or windows: [7d, 30d], one funnel each
order: ordered                         # strict: nothing else in between; any_order: in whatever order
strict_increase: false                 # true: a step must be later than the one before, not at the same moment
exclusion:                             # an attempt with this activity in between is void
  - {between: [cart, buy], activity: cart_removed}
hold_constant: product_id              # run per user and value; users then counts pairs
entry: once                            # per_day: one attempt for each business day on which a user starts
period: [all, month]
breakdown:
  - {column: acquisition_channel}      # of user_wide
  - {column: channel, step: first}     # of the activity that made the step: first, last or a step's name
```
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, field_validator

from orchestration.specs.activities import ACTIVITY_COLUMNS, unknown_activity
from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.conditions import Vocabulary, read_predicate
from orchestration.specs.documents import (
    Document,
    Label,
    Line,
    Name,
    Paragraph,
    Problem,
    SpecError,
    SpecModel,
    names_of,
    nearest,
    shown,
    validate,
)
from orchestration.specs.predicates import Predicate, columns_in

MAX_STEPS = 10
MAX_STEPS_THAT_OVERLAP = 4
MAX_BREAKDOWNS = 4
MAX_WINDOW_SECONDS = 3650 * 86_400

Order = Literal["ordered", "strict", "any_order"]
Period = Literal["all", "month", "week", "day"]

_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
_WINDOW = re.compile(r"([1-9][0-9]*)([mhd])\Z")
_ACTIVITY = re.compile(r"[a-z0-9_]+\Z")


_CONSTANTS = tuple(name for name, column in ACTIVITY_COLUMNS.items() if column.type is ValueType.TEXT)


class FunnelStepSpec(SpecModel):
    """One step: what has to happen."""

    name: Name = Field(description="Name of the step, unique in its funnel")
    label: Label = Field(description="What people read")
    activity: str | tuple[str, ...] = Field(description="One activity, or several of which any counts")
    where: Any = Field(None, description="Condition on columns of the activity stream")


class FunnelExclusionSpec(SpecModel):
    """An activity that voids an attempt when it happens between two steps."""

    between: tuple[str, ...] = Field(description="Names of two steps", min_length=2, max_length=2)
    activity: str | tuple[str, ...] = Field(description="One activity, or several of which any voids")
    where: Any = Field(None, description="Condition on columns of the activity stream")


class FunnelBreakdownSpec(SpecModel):
    """What the metrics are split by."""

    column: Name = Field(description="Column of user_wide, or of the activity stream when step is given")
    step: str | None = Field(None, description="first, last or a step's name")


class FunnelSpec(SpecModel):
    """One file below dbt_project/specs/funnels."""

    name: Name = Field(description="Name of the funnel; with windows, a suffix such as _7d is added")
    title: Label = Field(description="What people read")
    owner: Line = Field(description="Who answers for it")
    description: Paragraph = Field(description="What it tells")
    steps: tuple[FunnelStepSpec, ...] = Field(min_length=2, max_length=MAX_STEPS)
    window: str | None = Field(
        None, description="Longest time from first to last step, inclusive: 30m, 36h, 7d, none"
    )
    windows: tuple[str, ...] | None = Field(
        None, description="Several windows: one funnel each", min_length=1
    )
    order: Order = Field("ordered", description="ordered, strict or any_order")
    strict_increase: bool = Field(False, description="A step must be later than the one before")
    exclusion: tuple[FunnelExclusionSpec, ...] = Field((), max_length=3)
    hold_constant: str | None = Field(
        None,
        description="Column of the activity stream that all steps share",
        json_schema_extra=names_of("constants"),
    )
    entry: Literal["once", "per_day"] = Field("once", description="Attempts per user (and value)")
    period: tuple[Period, ...] = Field(("all",), description="Periods of the metrics, by entry", min_length=1)
    breakdown: tuple[FunnelBreakdownSpec, ...] = Field((), max_length=MAX_BREAKDOWNS)

    @field_validator("period")
    @classmethod
    def _each_once(cls, value: tuple[Period, ...]) -> tuple[Period, ...]:
        return tuple(dict.fromkeys(value))


@dataclass(frozen=True)
class Match:
    """Which activities count: one of the names, and the condition when there is one."""

    activities: tuple[str, ...]
    where: Predicate | None = None

    @property
    def columns(self) -> set[str]:
        """Columns of the activity stream that the condition reads."""
        return columns_in(self.where) if self.where else set()


@dataclass(frozen=True)
class Step:
    """A step; `position` counts from 1."""

    position: int
    name: str
    label_zh: str
    label_en: str
    match: Match


@dataclass(frozen=True)
class Exclusion:
    """No matching activity strictly between the moments of steps `first` and `last` (positions)."""

    first: int
    last: int
    match: Match


@dataclass(frozen=True)
class Breakdown:
    """Column of the user wide table (`step` is None) or of the activity that made step number `step`."""

    name: str
    column: str
    step: int | None


@dataclass(frozen=True)
class Window:
    """A funnel's name and its window in seconds; None = no limit."""

    funnel: str
    seconds: int | None


@dataclass(frozen=True)
class Funnel:
    """A checked spec, with everything resolved to positions and seconds."""

    spec: FunnelSpec
    steps: tuple[Step, ...]
    windows: tuple[Window, ...]
    exclusions: tuple[Exclusion, ...] = ()
    breakdowns: tuple[Breakdown, ...] = ()
    overlaps: tuple[frozenset[int], ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """Name of the file's funnel, without the suffix of a window."""
        return self.spec.name

    @property
    def streams(self) -> bool:
        """Whether one pass over packed, sorted numbers answers it: an activity is one step and nothing voids."""
        return self.spec.order == "ordered" and not self.exclusions and not self.overlaps

    @property
    def activities(self) -> set[str] | None:
        """Activities that it reads; None = all, because any of them interrupts."""
        if self.spec.order == "strict":
            return None
        return {name for match in self.matches() for name in match.activities}

    @property
    def columns(self) -> set[str]:
        """Columns of the activity stream that it reads, besides user, activity and moment."""
        named = set().union(*(match.columns for match in self.matches()))
        named |= {breakdown.column for breakdown in self.breakdowns if breakdown.step}
        return named | ({self.spec.hold_constant} if self.spec.hold_constant else set())

    @property
    def entry_unit(self) -> Period:
        """The coarsest time by which the best entry may be chosen and still serve all declared periods."""
        periods = set(self.spec.period) - {"all"}
        if self.spec.entry == "per_day" or len(periods) > 1:
            return "day"
        return periods.pop() if periods else "all"

    def matches(self) -> Iterator[Match]:
        """All matches, of steps and of exclusions."""
        yield from (step.match for step in self.steps)
        yield from (exclusion.match for exclusion in self.exclusions)

    def overlapping_sets(self, steps: Iterable[int]) -> list[tuple[int, ...]]:
        """Sets of the given steps that one activity may join: what Hall's theorem has to look at.

        Different events can be given to all `steps` exactly when every such set of size n is matched by at least
        n events (P. Hall, 1935; sets that fall apart into unrelated parts follow from their parts).
        """
        wanted = set(steps)
        found: list[tuple[int, ...]] = [(position,) for position in sorted(wanted)]
        for component in self.overlaps:
            inside = sorted(component & wanted)
            for size in range(2, len(inside) + 1):
                found += [c for c in itertools.combinations(inside, size) if self._hangs_together(c)]
        return found

    def _hangs_together(self, positions: Sequence[int]) -> bool:
        rest, reached = set(positions[1:]), {positions[0]}
        while True:
            near = {p for p in rest if any(self._share(p, q) for q in reached)}
            if not near:
                return not rest
            rest -= near
            reached |= near

    def _share(self, first: int, second: int) -> bool:
        return bool(
            set(self.steps[first - 1].match.activities) & set(self.steps[second - 1].match.activities)
        )


def window_seconds(text: str) -> int | None:
    """Seconds of `30m`, `36h`, `7d`; None for `none`. Raises ValueError for anything else."""
    if text == "none":
        return None
    found = _WINDOW.match(text)
    seconds = int(found[1]) * _UNIT_SECONDS[found[2]] if found and len(found[1]) < 9 else 0
    if not 0 < seconds <= MAX_WINDOW_SECONDS:
        raise ValueError(f"{shown(text)} is no window; write 30m, 36h, 7d (at most 3650d) or none.")
    return seconds


def declared_names(spec: FunnelSpec) -> list[str]:
    """Names under which a funnel's attempts are found: one for each window."""
    if spec.windows is None:
        return [spec.name]
    suffixes = ("unlimited" if text == "none" else text for text in spec.windows)
    return [f"{spec.name}_{suffix}" for suffix in suffixes]


def read_funnel(document: Document, wide_columns: Mapping[str, Column] | None = None) -> Funnel:
    """The checked funnel of a spec file.

    `wide_columns` are the columns of user_wide that a breakdown may name; None = not known, not checked.
    Raises SpecError with every problem found, each with file and line.
    """
    checker = _Checker(document, validate(document, FunnelSpec), wide_columns)
    funnel = checker.funnel()
    if checker.problems:
        raise SpecError(checker.problems)
    return funnel


def check_funnel(
    spec: FunnelSpec,
    document: Document,
    wide_columns: Mapping[str, Column],
    activities: Collection[str] | None = None,
) -> tuple[Funnel, list[Problem]]:
    """The funnel of a valid spec and what is wrong with it; it is usable only when nothing is.

    `activities` are the names that steps may have; None lets any name pass.
    """
    checker = _Checker(document, spec, wide_columns, activities)
    return checker.funnel(), checker.problems


class _Checker:
    def __init__(
        self,
        document: Document,
        spec: FunnelSpec,
        wide: Mapping[str, Column] | None,
        known: Collection[str] | None = None,
    ) -> None:
        self.document = document
        self.known = known
        self.spec = spec
        self.wide = wide
        self.problems: list[Problem] = []
        self.positions: dict[str, int] = {}
        for number, step in enumerate(spec.steps, 1):
            self.positions.setdefault(step.name, number)

    def refuse(self, text: str, *location: str | int) -> None:
        self.problems.append(self.document.problem(location, text))

    def funnel(self) -> Funnel:
        steps = tuple(
            Step(
                number,
                step.name,
                step.label.zh,
                step.label.en,
                self.match(step.activity, step.where, "steps", number - 1),
            )
            for number, step in enumerate(self.spec.steps, 1)
        )
        for number, step in enumerate(self.spec.steps):
            if self.positions[step.name] != number + 1:
                self.refuse(f"step {step.name} is named twice.", "steps", number, "name")
        windows = self.windows()
        self.check_order()
        exclusions = tuple(self.exclusions())
        breakdowns = tuple(self.breakdowns())
        constant = self.spec.hold_constant
        if constant is not None and constant not in _CONSTANTS:
            self.refuse(
                f"hold_constant cannot be {shown(constant)}; {nearest(constant, _CONSTANTS)}", "hold_constant"
            )
        overlaps = overlapping(steps)
        for component in overlaps:
            if len(component) > MAX_STEPS_THAT_OVERLAP:
                self.refuse(
                    f"{len(component)} steps share activities; at most {MAX_STEPS_THAT_OVERLAP} steps may.",
                    "steps",
                    min(component) - 1,
                )
        return Funnel(self.spec, steps, windows, exclusions, breakdowns, overlaps)

    def match(self, activity: str | tuple[str, ...], where: object, *at: str | int) -> Match:
        names = (activity,) if isinstance(activity, str) else activity
        if not names:
            self.refuse("activity needs at least one name.", *at, "activity")
        for name in names:
            if not _ACTIVITY.match(name):
                self.refuse(
                    f"{shown(name)} is no activity; use lower-case letters, digits and underscores.",
                    *at,
                    "activity",
                )
            elif self.known is not None and name not in self.known:
                self.refuse(unknown_activity(name, self.known), *at, "activity")
        predicate = None
        if where is not None:
            vocabulary = Vocabulary(
                ACTIVITY_COLUMNS,
                table="the activity stream",
                place="where reads the columns of the activity stream",
            )
            predicate, problems = read_predicate(where, vocabulary, self.document, (*at, "where"))
            self.problems += problems
        return Match(tuple(dict.fromkeys(names)), predicate)

    def windows(self) -> tuple[Window, ...]:
        single, several = self.spec.window, self.spec.windows
        if (single is None) == (several is None):
            self.refuse(
                "needs either window or windows, such as window: 7d or windows: [7d, none].", "window"
            )
            return ()
        found: list[Window] = []
        for number, text in enumerate(several or (single or "",)):
            at = ("windows", number) if several else ("window",)
            try:
                seconds = window_seconds(text)
            except ValueError as error:
                self.refuse(str(error), *at)
                continue
            suffix = "" if several is None else f"_{'unlimited' if seconds is None else text}"
            if any(window.seconds == seconds for window in found):
                self.refuse(f"window {text} is given twice.", *at)
            found.append(Window(self.spec.name + suffix, seconds))
        return tuple(found)

    def check_order(self) -> None:
        if self.spec.order == "any_order" and self.spec.strict_increase:
            self.refuse("strict_increase needs an order; remove it or any_order.", "strict_increase")
        if self.spec.order != "ordered" and self.spec.exclusion:
            why = (
                "nothing may happen in between anyway"
                if self.spec.order == "strict"
                else "no step is before another"
            )
            self.refuse(f"exclusion does not go with {self.spec.order}: {why}.", "exclusion")

    def exclusions(self) -> Iterator[Exclusion]:
        for number, exclusion in enumerate(self.spec.exclusion):
            at = ("exclusion", number)
            match = self.match(exclusion.activity, exclusion.where, *at)
            unknown = [name for name in exclusion.between if name not in self.positions]
            if unknown:
                self.refuse(
                    f"there is no step {shown(unknown[0])}; {nearest(unknown[0], self.positions)}",
                    *at,
                    "between",
                )
                continue
            first, last = (self.positions[name] for name in exclusion.between)
            if first >= last:
                self.refuse("between must name an earlier and a later step.", *at, "between")
                continue
            yield Exclusion(first, last, match)

    def breakdowns(self) -> Iterator[Breakdown]:
        names: set[str] = set()
        for number, breakdown in enumerate(self.spec.breakdown):
            at = ("breakdown", number)
            step: int | None = None
            known: Mapping[str, Column] | None = self.wide
            if breakdown.step is not None:
                known = {name: ACTIVITY_COLUMNS[name] for name in _CONSTANTS}
                words = {"first": 1, "last": len(self.spec.steps), **self.positions}
                step = words.get(breakdown.step)
                if step is None:
                    self.refuse(
                        f"there is no step {shown(breakdown.step)}; {nearest(breakdown.step, words)}",
                        *at,
                        "step",
                    )
                    continue
                if self.spec.order == "any_order":
                    self.refuse(
                        "with any_order a breakdown names a column of user_wide, without a step.", *at, "step"
                    )
            if known is not None and breakdown.column not in known:
                self.refuse(
                    f"there is no column {shown(breakdown.column)}; {nearest(breakdown.column, known)}",
                    *at,
                    "column",
                )
                continue
            name = (
                breakdown.column if step is None else f"{self.spec.steps[step - 1].name}_{breakdown.column}"
            )
            if name in names or name == "all":
                self.refuse(f"breakdown {name} is given twice.", *at)
            names.add(name)
            yield Breakdown(name, breakdown.column, step)


def overlapping(steps: Sequence[Step]) -> tuple[frozenset[int], ...]:
    """Groups of at least two steps that share activities, directly or through another step of the group.

    Conditions are not compared: two steps on one activity overlap even if their conditions exclude each other.
    """
    groups: list[tuple[set[int], set[str]]] = []
    for step in steps:
        positions, activities = {step.position}, set(step.match.activities)
        for group in [group for group in groups if group[1] & activities]:
            groups.remove(group)
            positions |= group[0]
            activities |= group[1]
        groups.append((positions, activities))
    return tuple(frozenset(positions) for positions, _ in groups if len(positions) > 1)
