"""Conditions that a marketer declares: a closed set of operators, typed, rendered as SQL or evaluated in Python.

```yaml
all:                                        # every one holds; any: at least one; not: the one does not
  - {column: rfm_cell, in: [important_winback, important_keep]}
  - {column: days_since_order, between: [30, 90]}      # both ends included
  - {column: contact_added_date, within_days: 7}       # as_of and the 6 days before it
  - not: {tag: complaint_recent}            # the tag is set
  - {tag: price_band, eq: high}             # the tag's value
  - {audience: second_order}                # is a member of
  - {segment: rfm, in: [important_value]}   # the value of a segmentation, declared beside its table
  - {did: cart, at_least: 2, within_days: 7, where: {column: category_l1, eq: skin}}
  - {did: cart, not_followed_by: order_paid}           # the last one has no order after it
  - {never_did: order_refunded}
  - {sequence: [view, cart, order_paid], max_days_apart: 3, within_days: 90}
  - {most_frequent: category_l1, of: item_paid, within_days: 365, eq: skin}   # also first, last
  - {top: brand, places: 3, of: [view, cart], in: [apple, pear]}   # one of them is among the three most frequent
  - {funnel: shop_view_cart_buy, at_step: cart}        # got so far, and not to the next step
```

Meaning of missing values: a condition on a column or tag that is empty for a user does not hold, whatever the
operator (`ne` too); `not` turns holds into does not hold. So every user either meets a condition or does not,
and `not` never loses anybody. `is_null` asks for emptiness itself.

What a spec holds is read and checked in `orchestration.specs.conditions`; how activities are counted in SQL is
written in `orchestration.specs.event_sql`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from orchestration.specs.catalog import ValueType

Scalar = str | int | Decimal | bool | dt.date


@dataclass(frozen=True)
class All:
    """Holds when every part holds."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class AnyOf:
    """Holds when at least one part holds."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class Not:
    """Holds when the part does not hold."""

    part: Predicate


@dataclass(frozen=True)
class Event:
    """Activities that count: of these names, on the last `days` business days (None: ever), meeting the condition."""

    activities: tuple[str, ...]
    where: Predicate | None = None
    days: int | None = None


@dataclass(frozen=True)
class Pick:
    """A value that the user's activities have: that of the first or last one, or the most frequent ones.

    At the same moment the smallest value is the first and the greatest the last one; of equally frequent values the
    one seen later comes first, then the smaller one.
    """

    which: Literal["first", "last", "most_frequent"]
    column: str
    event: Event


@dataclass(frozen=True)
class Subject:
    """What a comparison looks at: a column of the wide table, the value of a tag or segmentation, or one picked from
    activities."""

    kind: str  # column, tag, segment or value
    name: str
    type: ValueType
    pick: Pick | None = None


@dataclass(frozen=True)
class Comparison:
    """One operator on one subject."""

    subject: Subject
    operator: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class HasTag:
    """The tag is set."""

    tag: str


@dataclass(frozen=True)
class InAudience:
    """The user is a member of another audience (after its suppression and limit, held-out users included)."""

    audience: str


@dataclass(frozen=True)
class Did:
    """Did it at least so many times. With `unless_after` the last time only counts when none of that came after it."""

    event: Event
    at_least: int = 1
    unless_after: Event | None = None


@dataclass(frozen=True)
class InOrder:
    """Did all steps one after the other, each a different activity, within `days_apart` × 24 hours from the first to the
    last (None: whenever). Others may happen in between; two at the same moment may follow each other."""

    steps: tuple[Event, ...]
    days_apart: int | None = None


@dataclass(frozen=True)
class InTop:
    """One of the values is among the `places` most frequent ones."""

    pick: Pick
    places: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class AtStep:
    """Some attempt at a funnel got exactly to a step. It began on the last `days` days (None: ever); with `is_over` its
    window has passed."""

    funnel: str
    step: str
    level: int
    days: int | None = None
    is_over: bool = False


Predicate = All | AnyOf | Not | Comparison | HasTag | InAudience | Did | InOrder | InTop | AtStep
# What a pass over the activities answers, for each user.
Counted = Did | InOrder | InTop | Pick


@dataclass(frozen=True)
class TagType:
    """What a predicate needs to know of a tag. `values` when it takes one of a declared list."""

    type: ValueType
    values: tuple[str, ...] | None = None


def walk(predicate: Predicate) -> Iterator[Predicate]:
    """The predicate and everything in it."""
    yield predicate
    match predicate:
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from walk(part)
        case Not(part):
            yield from walk(part)


def columns_in(predicate: Predicate) -> set[str]:
    """Columns of the wide table that a predicate reads."""
    return {
        p.subject.name for p in walk(predicate) if isinstance(p, Comparison) and p.subject.kind == "column"
    }


def tags_in(predicate: Predicate) -> set[str]:
    """Tags that a predicate reads."""
    return {p.tag for p in walk(predicate) if isinstance(p, HasTag)} | {
        p.subject.name for p in walk(predicate) if isinstance(p, Comparison) and p.subject.kind == "tag"
    }


def audiences_in(predicate: Predicate) -> set[str]:
    """Audiences that a predicate reads."""
    return {p.audience for p in walk(predicate) if isinstance(p, InAudience)}


def segments_in(predicate: Predicate) -> set[str]:
    """Segmentations that a predicate reads."""
    return {
        p.subject.name for p in walk(predicate) if isinstance(p, Comparison) and p.subject.kind == "segment"
    }


def funnels_in(predicate: Predicate) -> set[str]:
    """Funnels that a predicate reads."""
    return {p.funnel for p in walk(predicate) if isinstance(p, AtStep)}


def counted_in(predicate: Predicate) -> list[Counted]:
    """What a predicate asks of activities, in the order of the text."""
    found: list[Counted] = []
    for part in walk(predicate):
        if isinstance(part, Did | InOrder | InTop):
            found.append(part)
        elif isinstance(part, Comparison) and part.subject.pick is not None:
            found.append(part.subject.pick)
    return list(dict.fromkeys(found))


def events_of(counted: Counted) -> tuple[Event, ...]:
    """The activities that a question asks for."""
    match counted:
        case Did(event, _, after):
            return (event,) if after is None else (event, after)
        case InOrder(steps):
            return steps
        case InTop(pick):
            return (pick.event,)
        case Pick():
            return (counted.event,)


def counted_column(counted: Counted) -> str:
    """Column that holds the answer to a question on activities: the same question has the same name everywhere."""
    return f"event__{hashlib.sha256(repr(counted).encode()).hexdigest()[:12]}"


# --- SQL -------------------------------------------------------------------------------------------------


def literal(value: Scalar) -> str:
    """The one place where a declared value becomes SQL.

    Braces and backslashes are written as chr(…): a brace could open a template of dbt, a backslash escapes on Spark.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if isinstance(value, dt.date):
        return f"cast('{value.isoformat()}' as date)"
    if any(ord(character) < 32 and character != "\n" for character in value):
        raise ValueError("control characters cannot stand in a literal")
    text = "'" + value.replace("'", "''") + "'"
    for character in "{}\\":
        text = text.replace(character, f"' || chr({ord(character)}) || '")
    return f"({text})" if "||" in text and "chr(" in text else text


class Names:
    """How a SQL statement spells what a predicate names. What a statement does not know, checked specs do not name."""

    def column(self, name: str) -> str:
        """SQL of a column of the wide table."""
        raise AssertionError(f"checked specs name no column here, not {name}")

    def tag(self, name: str) -> str:
        """SQL of a tag's value, typed; for a boolean tag a boolean; null when it is not set."""
        raise AssertionError(f"checked specs name no tag here, not {name}")

    def tag_is_boolean(self, name: str) -> bool:
        """Whether the tag is boolean."""
        raise AssertionError(f"checked specs name no tag here, not {name}")

    def segment(self, name: str) -> str:
        """SQL of the user's value in a segmentation; null when the user has none."""
        raise AssertionError(f"checked specs name no segment here, not {name}")

    def counted(self, counted: Counted) -> str:
        """SQL of the answer to a question on activities: a boolean, or a picked value; null when nothing is known."""
        raise AssertionError(f"checked specs name no activity here, not {counted}")

    def attempts(self) -> str:
        """SQL of the relation of attempts at funnels, with funnel, user_id, level, entered_at, is_mature."""
        raise AssertionError("checked specs name no funnel here")

    def members(self, audience: str) -> str:
        """SQL of a subquery with the user ids of an audience."""
        raise AssertionError(f"checked specs name no audience here, not {audience}")

    def user_id(self) -> str:
        """SQL of the user's id."""
        raise AssertionError("checked specs name no user here")

    def as_of(self, days: int) -> str:
        """SQL of the day that lies `days` after as_of (before, if negative)."""
        raise AssertionError("checked specs name no day here")

    def moment(self, days: int) -> str:
        """SQL of the moment (UTC) at which that day begins."""
        raise AssertionError("checked specs name no moment here")

    def later(self, day: str, days: int) -> str:
        """SQL of the day some days after another one."""
        raise AssertionError("checked specs name no day here")


_SYMBOLS = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def to_sql(predicate: Predicate, names: Names) -> str:
    """SQL that is true exactly when the predicate holds; else it is false or null.

    Null is allowed for "does not hold" because filters and CASE treat it alike and because all and any keep
    that meaning; only `not` has to turn null into false first. Use `to_sql_boolean` where null would show.
    """
    match predicate:
        case All(parts):
            return "(" + " and ".join(to_sql(part, names) for part in parts) + ")"
        case AnyOf(parts):
            return "(" + " or ".join(to_sql(part, names) for part in parts) + ")"
        case Not(part):
            return f"not {to_sql_boolean(part, names)}"
        case HasTag(tag):
            return names.tag(tag) if names.tag_is_boolean(tag) else f"{names.tag(tag)} is not null"
        case InAudience(audience):
            return f"{names.user_id()} in ({names.members(audience)})"
        case Did() | InOrder() | InTop():
            return names.counted(predicate)
        case AtStep(funnel, _, level, days, is_over):
            where = f"funnel = {literal(funnel)} and level = {level}"
            if days is not None:
                where += f" and entered_at >= {names.moment(1 - days)}"
            where += " and is_mature" if is_over else ""
            return f"{names.user_id()} in (select user_id from {names.attempts()} where {where})"
        case Comparison(subject, operator, values):
            left = _subject_sql(subject, names)
            if operator == "is_null":
                return f"{left} is {'' if values[0] else 'not '}null"
            if operator == "contains":
                return f"position({literal(values[0])} in {left}) > 0"
            if operator == "between":
                return f"{left} between {literal(values[0])} and {literal(values[1])}"
            if operator == "within_days":
                return f"{left} between {names.as_of(1 - int(str(values[0])))} and {names.as_of(0)}"
            if operator == "in":
                return f"{left} in ({', '.join(literal(value) for value in values)})"
            return f"{left} {_SYMBOLS[operator]} {literal(values[0])}"


def _subject_sql(subject: Subject, names: Names) -> str:
    if subject.pick is not None:
        return names.counted(subject.pick)
    if subject.kind == "tag":
        return names.tag(subject.name)
    return names.segment(subject.name) if subject.kind == "segment" else names.column(subject.name)


def to_sql_boolean(predicate: Predicate, names: Names) -> str:
    """SQL that is true when the predicate holds and false otherwise, never null."""
    return f"coalesce({to_sql(predicate, names)}, false)"


# --- reference -------------------------------------------------------------------------------------------

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
}


@dataclass(frozen=True)
class Facts:
    """What is known of one user.

    `row` holds the wide table's columns, `tags` the values of the tags that are set, `audiences` the audiences the user
    is a member of, `segments` the value in each segmentation. Each of `activities` has activity, occurred_at,
    activity_date and the columns of `activities.EVENT_COLUMNS`; each of `attempts` funnel, level, entered_date, is_mature.
    """

    row: Mapping[str, Any]
    tags: Mapping[str, Any] = field(default_factory=dict)
    audiences: Collection[str] = ()
    as_of: dt.date = dt.date.max
    segments: Mapping[str, Any] = field(default_factory=dict)
    activities: Sequence[Mapping[str, Any]] = ()
    attempts: Sequence[Mapping[str, Any]] = ()

    def lately(self, day: dt.date, days: int | None) -> bool:
        """Whether a day is as_of or one of the `days` - 1 days before it; None: whether it is not later."""
        return day <= self.as_of and (days is None or day > self.as_of - dt.timedelta(days=days))

    def of(self, event: Event) -> list[Mapping[str, Any]]:
        """The activities that count."""
        return [
            activity
            for activity in self.activities
            if activity["activity"] in event.activities
            and self.lately(activity["activity_date"], event.days)
            and (event.where is None or holds(event.where, Facts(activity)))
        ]

    def value(self, subject: Subject) -> Any:
        """What a comparison looks at; None when it is not known."""
        if subject.pick is not None:
            return next(iter(picked(subject.pick, self)), None)
        known = {"tag": self.tags, "segment": self.segments}.get(subject.kind, self.row)
        return known.get(subject.name)


def holds(predicate: Predicate, facts: Facts) -> bool:
    """Whether a user meets a predicate: the meaning that the SQL must have, in plain Python."""
    match predicate:
        case All(parts):
            return all(holds(part, facts) for part in parts)
        case AnyOf(parts):
            return any(holds(part, facts) for part in parts)
        case Not(part):
            return not holds(part, facts)
        case HasTag(tag):
            return facts.tags.get(tag) not in (None, False)
        case InAudience(audience):
            return audience in facts.audiences
        case Did(event, at_least, after):
            moments = [activity["occurred_at"] for activity in facts.of(event)]
            later = [activity["occurred_at"] for activity in facts.of(after)] if after else []
            return len(moments) >= at_least and (not later or max(moments) > max(later))
        case InOrder():
            return _in_order(predicate, facts)
        case InTop(pick, places, values):
            return any(value in values for value in picked(pick, facts)[:places])
        case AtStep(funnel, _, level, days, is_over):
            return any(
                attempt["funnel"] == funnel
                and attempt["level"] == level
                and facts.lately(attempt["entered_date"], days)
                and (attempt["is_mature"] or not is_over)
                for attempt in facts.attempts
            )
        case Comparison(subject, operator, values):
            return compare(facts.value(subject), operator, values, facts.as_of)


def compare(value: Any, operator: str, values: Sequence[Scalar], as_of: dt.date = dt.date.max) -> bool:
    """Whether one value meets an operator; None meets `is_null: true` only."""
    if operator == "is_null":
        return (value is None) == values[0]
    if value is None:
        return False
    if operator == "within_days":
        return bool(as_of - dt.timedelta(days=int(str(values[0])) - 1) <= value <= as_of)
    if operator == "contains":
        return str(values[0]) in value
    # A double meets the double nearest to what was declared, as in the engine.
    given = [float(v) if isinstance(value, float) and isinstance(v, Decimal) else v for v in values]
    if operator == "between":
        return bool(given[0] <= value <= given[1])
    return value in given if operator == "in" else _COMPARE[operator](value, given[0])


def picked(pick: Pick, facts: Facts) -> list[str]:
    """The values that a pick finds, the foremost one first."""
    found = [
        (activity["occurred_at"], activity[pick.column])
        for activity in facts.of(pick.event)
        if activity[pick.column] is not None
    ]
    if not found:
        return []
    if pick.which == "first":
        return [min(found)[1]]
    if pick.which == "last":
        return [max(found)[1]]
    values = sorted({value for _, value in found})
    values.sort(
        key=lambda value: (sum(v == value for _, v in found), max(at for at, v in found if v == value)),
        reverse=True,
    )
    return values


def _in_order(wanted: InOrder, facts: Facts) -> bool:
    """Tries every start, and from there always the next activity that fits: of those at one moment each in turn."""
    found = [facts.of(step) for step in wanted.steps]

    def goes_on(step: int, since: dt.datetime, until: dt.datetime | None, used: tuple[int, ...]) -> bool:
        if step == len(found):
            return True
        fitting = [a for a in found[step] if a["occurred_at"] >= since and id(a) not in used]
        nearest = min((a["occurred_at"] for a in fitting), default=None)
        if nearest is None or (until is not None and nearest > until):
            return False
        return any(
            goes_on(step + 1, nearest, until, (*used, id(a))) for a in fitting if a["occurred_at"] == nearest
        )

    for start in found[0]:
        begin = start["occurred_at"]
        until = None if wanted.days_apart is None else begin + dt.timedelta(days=wanted.days_apart)
        if goes_on(1, begin, until, (id(start),)):
            return True
    return False


# --- words -----------------------------------------------------------------------------------------------

_WORDS = {"eq": "=", "ne": "≠", "gt": ">", "gte": "≥", "lt": "<", "lte": "≤"}


def _subject_code(subject: Subject) -> str:
    if subject.pick is not None:
        pick = subject.pick
        which = {"first": "first", "last": "last", "most_frequent": "most frequent"}[pick.which]
        return f"{which} {pick.column} of {_event_words(pick.event)}"
    return subject.name if subject.kind == "column" else f"{subject.kind} {subject.name}"


def _event_words(event: Event) -> str:
    names = " or ".join(event.activities)
    where = f" with {in_words(event.where)}" if event.where is not None else ""
    return f"{names}{where}{_lately(event.days)}"


def _lately(days: int | None) -> str:
    return "" if days is None else f" within the last {_days(days)}"


def _days(days: int) -> str:
    return "day" if days == 1 else f"{days} days"


def in_words(predicate: Predicate, named: Callable[[Subject], str] = _subject_code) -> str:
    """The predicate on one line, for catalogues; `named` says how a column or a tag is called."""
    match predicate:
        case All(parts):
            return "(" + " and ".join(in_words(part, named) for part in parts) + ")"
        case AnyOf(parts):
            return "(" + " or ".join(in_words(part, named) for part in parts) + ")"
        case Not(part):
            return f"not {in_words(part, named)}"
        case HasTag(tag):
            return f"tag {tag}"
        case InAudience(audience):
            return f"in audience {audience}"
        case Did(event, at_least, after):
            times = f" at least {at_least} times" if at_least > 1 else ""
            unless = f", with no {_event_words(Event(after.activities, after.where))} since" if after else ""
            return f"did {_event_words(event)}{times}{unless}"
        case InOrder(steps, apart):
            said = " then ".join(_event_words(Event(step.activities, step.where)) for step in steps)
            return (
                f"did {said}{'' if apart is None else f' within {apart} × 24 hours'}{_lately(steps[0].days)}"
            )
        case InTop(pick, places, top):
            return f"one of [{', '.join(top)}] among the {places} most frequent {pick.column} of {_event_words(pick.event)}"
        case AtStep(funnel, step, _, days, is_over):
            over = ", window over" if is_over else ""
            return f"at step {step} of funnel {funnel} and not further{_lately(days)}{over}"
        case Comparison(subject, operator, values):
            name = named(subject)
            if operator == "is_null":
                return f"{name} is {'' if values[0] else 'not '}empty"
            if operator == "between":
                return f"{name} from {_word(values[0])} to {_word(values[1])}"
            if operator == "within_days":
                return f"{name} within the last {values[0]} days"
            if operator == "contains":
                return f"{name} contains {_word(values[0])}"
            if operator == "in":
                return f"{name} in [{', '.join(_word(value) for value in values)}]"
            return f"{name} {_WORDS[operator]} {_word(values[0])}"


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
