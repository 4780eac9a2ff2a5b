"""Reading conditions: what a spec holds, checked against everything that may be named, becomes a typed predicate.

Whatever is wrong is one sentence with its place: an unknown name (with the nearest one), a wrong type, an operator that
does not fit, a range or a list of conditions that nobody can meet.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from orchestration.specs.activities import EVENT_COLUMNS, unknown_activity
from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.documents import Document, Location, Problem, nearest, shown
from orchestration.specs.predicates import (
    All,
    AnyOf,
    AtStep,
    Comparison,
    Did,
    Event,
    HasTag,
    InAudience,
    InOrder,
    InTop,
    Not,
    Pick,
    Predicate,
    Scalar,
    Subject,
    TagType,
    compare,
    in_words,
)

MAX_CONDITIONS = 200
MAX_LIST_VALUES = 1000
MAX_DAYS = 36_500
MAX_TIMES = 1_000_000
MAX_STEPS = 4
MAX_PLACES = 100

_ORDERED = frozenset({ValueType.NUMBER, ValueType.DATE})
_EQUATABLE = frozenset({ValueType.TEXT, ValueType.NUMBER, ValueType.DATE, ValueType.BOOLEAN})
_LISTABLE = frozenset({ValueType.TEXT, ValueType.NUMBER, ValueType.DATE})

# Operator → types it works on.
OPERATORS: dict[str, frozenset[ValueType]] = {
    "eq": _EQUATABLE,
    "ne": _EQUATABLE,
    "gt": _ORDERED,
    "gte": _ORDERED,
    "lt": _ORDERED,
    "lte": _ORDERED,
    "between": _ORDERED,
    "in": _LISTABLE,
    "contains": frozenset({ValueType.TEXT}),
    "within_days": frozenset({ValueType.DATE}),
    "is_null": frozenset(ValueType),
}
COMBINERS = ("all", "any", "not")
# Subject → the fields that go with it; those in PICKS and column, tag, segment take an operator, too.
EVENT_FIELDS = ("where", "within_days")
PICKS = ("first", "last", "most_frequent")
SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "column": (),
    "tag": (),
    "segment": (),
    "audience": (),
    "did": (*EVENT_FIELDS, "at_least", "not_followed_by"),
    "never_did": EVENT_FIELDS,
    "sequence": ("within_days", "max_days_apart"),
    **dict.fromkeys(PICKS, ("of", *EVENT_FIELDS)),
    "top": ("places", "of", *EVENT_FIELDS),
    "funnel": ("at_step", "within_days", "window_over"),
}


class _Refused(Exception):
    def __init__(self, location: Location, text: str) -> None:
        super().__init__(text)
        self.location = location
        self.text = text


@dataclass(frozen=True)
class Vocabulary:
    """What may be named where a predicate stands. None = that subject is not allowed there."""

    columns: Mapping[str, Column]
    tags: Mapping[str, TagType] | None = None
    audiences: Collection[str] | None = None
    table: str = "user_wide"  # what the columns belong to, in messages
    activities: Collection[str] | None = None
    segments: Mapping[str, Column] | None = None
    funnels: Mapping[str, Sequence[str]] | None = None  # with the names of the steps
    place: str = "the rule of a tag reads columns, segments, activities and funnels"


def read_predicate(
    raw: object, vocabulary: Vocabulary, document: Document, location: Location
) -> tuple[Predicate | None, list[Problem]]:
    """The typed predicate of a document's value, or None with what is wrong with it."""
    reader = _Reader(vocabulary)
    try:
        return reader.read(raw, location), []
    except _Refused as refused:
        return None, [document.problem(refused.location, refused.text)]


class _Reader:
    """Depth is bounded by the document reader, the number of conditions here."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.conditions = 0

    def read(self, raw: object, at: Location) -> Predicate:
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            raise _Refused(at, f"a rule may have at most {MAX_CONDITIONS} conditions; use `in` for lists.")
        if raw is None:
            raise _Refused(at, "the condition is empty; write one such as {column: orders_count, gte: 2}.")
        if not isinstance(raw, dict) or not raw:
            raise _Refused(
                at,
                f"{shown(raw)} is no condition; write one such as {{column: orders_count, gte: 2}}, or all, any, not.",
            )
        combiner = next((key for key in raw if key in COMBINERS), None)
        if combiner:
            others = [key for key in raw if key != combiner]
            if others:
                raise _Refused(
                    (*at, others[0]),
                    f"{shown(others[0])} cannot stand beside {combiner!r}; put both below all: or any:.",
                )
            return self._combined(combiner, raw[combiner], (*at, combiner))
        subject = next((key for key in raw if key in SUBJECTS), None)
        if subject is None:
            word = next(iter(raw))
            raise _Refused(
                (*at, word), f"there is no condition {shown(word)}; {nearest(word, [*COMBINERS, *SUBJECTS])}"
            )
        rest = {key: value for key, value in raw.items() if key != subject}
        if subject == "never_did":
            return Not(self._did("never_did", raw[subject], rest, at))
        if subject == "did":
            return self._did("did", raw[subject], rest, at)
        if subject == "sequence":
            return self._sequence(raw[subject], rest, at)
        named = raw[subject]
        if not isinstance(named, str):
            raise _Refused((*at, subject), f"{subject} must be a name, not {shown(named)}.")
        readers: dict[str, Callable[[str, dict[str, Any], Location], Predicate]] = {
            "column": self._column,
            "tag": self._tag,
            "segment": self._segment,
            "audience": self._audience,
            "top": self._top,
            "funnel": self._funnel,
            "first": lambda name, more, here: self._pick("first", name, more, here),
            "last": lambda name, more, here: self._pick("last", name, more, here),
            "most_frequent": lambda name, more, here: self._pick("most_frequent", name, more, here),
        }
        return readers[subject](named, rest, at)

    def _combined(self, combiner: str, raw: object, at: Location) -> Predicate:
        if combiner == "not":
            return Not(self.read(raw, at))
        if not isinstance(raw, tuple) or not raw:
            raise _Refused(
                at, f"{combiner} needs a list of conditions, each on a line that begins with '- '."
            )
        parts = tuple(self.read(part, (*at, position)) for position, part in enumerate(raw))
        if combiner == "any":
            return AnyOf(parts)
        self._can_be_met([((*at, position), part) for position, part in enumerate(parts)])
        return All(parts)

    def _column(self, name: str, rest: dict[str, Any], at: Location) -> Predicate:
        column = self.vocabulary.columns.get(name)
        if column is None:
            raise _Refused(
                (*at, "column"),
                f"there is no column {shown(name)} in {self.vocabulary.table}; {nearest(name, self.vocabulary.columns)}",
            )
        return self._comparison(Subject("column", name, column.type), column.values, rest, at)

    def _tag(self, name: str, rest: dict[str, Any], at: Location) -> Predicate:
        tags = self.vocabulary.tags
        if tags is None:
            raise _Refused((*at, "tag"), f"a tag cannot be named here; {self.vocabulary.place}.")
        tag = tags.get(name)
        if tag is None:
            raise _Refused((*at, "tag"), f"there is no active tag {shown(name)}; {nearest(name, tags)}")
        if not rest:
            return HasTag(name)
        if tag.type is ValueType.BOOLEAN:
            raise _Refused(
                at, f"tag {name} is either set or not: write {{tag: {name}}}, or not: {{tag: {name}}}."
            )
        return self._comparison(Subject("tag", name, tag.type), tag.values, rest, at)

    def _audience(self, name: str, rest: dict[str, Any], at: Location) -> Predicate:
        audiences = self.vocabulary.audiences
        if audiences is None:
            raise _Refused((*at, "audience"), f"an audience cannot be named here; {self.vocabulary.place}.")
        if name not in audiences:
            raise _Refused(
                (*at, "audience"), f"there is no audience {shown(name)}; {nearest(name, sorted(audiences))}"
            )
        if rest:
            word = next(iter(rest))
            raise _Refused(
                (*at, word), f"{shown(word)} cannot follow an audience; {{audience: {name}}} is complete."
            )
        return InAudience(name)

    def _segment(self, name: str, rest: dict[str, Any], at: Location) -> Predicate:
        segments = self.vocabulary.segments
        if segments is None:
            raise _Refused((*at, "segment"), f"a segment cannot be named here; {self.vocabulary.place}.")
        column = segments.get(name)
        if column is None:
            raise _Refused((*at, "segment"), f"there is no segment {shown(name)}; {nearest(name, segments)}")
        return self._comparison(Subject("segment", name, column.type), column.values, rest, at)

    # --- activities ---

    def _event(
        self, field: str | int, raw: object, rest: Mapping[str, Any], at: Location, days: int | None = None
    ) -> Event:
        """Activities, the condition and the days of a part of a rule."""
        known = self.vocabulary.activities
        if known is None:
            raise _Refused((*at, field), f"activities cannot be named here; {self.vocabulary.place}.")
        names = raw if isinstance(raw, tuple) else (raw,)
        if not names:
            raise _Refused((*at, field), f"{field} needs at least one activity.")
        for position, name in enumerate(names):
            here = (*at, field, position) if isinstance(raw, tuple) else (*at, field)
            if not isinstance(name, str) or name not in known:
                raise _Refused(here, unknown_activity(name, known))
            if name in names[:position]:
                raise _Refused(here, f"{shown(name)} is listed twice.")
        where = None
        if "where" in rest:
            inner = _Reader(
                Vocabulary(
                    EVENT_COLUMNS,
                    table="the activities",
                    place="where reads the columns of the activities",
                )
            )
            inner.conditions = self.conditions
            where = inner.read(rest["where"], (*at, "where"))
            self.conditions = inner.conditions
        days = self._number(rest, "within_days", at, MAX_DAYS) if "within_days" in rest else days
        return Event(tuple(sorted(names)), where, days)

    def _number(self, rest: Mapping[str, Any], field: str, at: Location, most: int, least: int = 1) -> int:
        raw = rest[field]
        if not isinstance(raw, int) or isinstance(raw, bool) or not least <= raw <= most:
            raise _Refused((*at, field), f"{field} must be a whole number from {least} to {most}.")
        return raw

    def _only(self, subject: str, rest: Mapping[str, Any], at: Location, *more: str) -> None:
        allowed = [*SUBJECTS[subject], *more]
        for word in rest:
            if word not in allowed:
                raise _Refused(
                    (*at, word), f"{shown(word)} does not go with {subject}; {nearest(word, allowed)}"
                )

    def _did(self, subject: str, raw: object, rest: dict[str, Any], at: Location) -> Did:
        self._only(subject, rest, at)
        event = self._event(subject, raw, rest, at)
        times = self._number(rest, "at_least", at, MAX_TIMES) if "at_least" in rest else 1
        after = None
        if "not_followed_by" in rest:
            if times > 1:
                raise _Refused(
                    (*at, "at_least"),
                    "at_least does not go with not_followed_by, which is about the last time.",
                )
            after = self._event("not_followed_by", rest["not_followed_by"], {}, at, event.days)
            if set(after.activities) & set(event.activities) and event.where is None:
                raise _Refused(
                    (*at, "not_followed_by"),
                    "holds for nobody: nothing comes after the last of its own kind.",
                )
        return Did(event, times, after)

    def _sequence(self, raw: object, rest: dict[str, Any], at: Location) -> Predicate:
        self._only("sequence", rest, at)
        here = (*at, "sequence")
        if not isinstance(raw, tuple) or not 2 <= len(raw) <= MAX_STEPS:
            raise _Refused(
                here, f"sequence needs a list of 2 to {MAX_STEPS} activities, such as [cart, order_paid]."
            )
        days = self._number(rest, "within_days", at, MAX_DAYS) if "within_days" in rest else None
        steps = []
        for position, step in enumerate(raw):
            place = (*here, position)
            if isinstance(step, dict):
                for word in step:
                    if word not in ("activity", "where"):
                        raise _Refused(
                            (*place, word),
                            f"there is no field {shown(word)} in a step; {nearest(word, ['activity', 'where'])}",
                        )
                if "activity" not in step:
                    raise _Refused(place, "a step needs its activity.")
                more = {"where": step["where"]} if "where" in step else {}
                steps.append(self._event("activity", step["activity"], more, place, days))
            else:
                steps.append(self._event(position, step, {}, here, days))
        apart = self._number(rest, "max_days_apart", at, MAX_DAYS) if "max_days_apart" in rest else None
        return InOrder(tuple(steps), apart)

    def _picked(self, which: str, name: str, rest: dict[str, Any], at: Location) -> Pick:
        subject = "top" if "places" in rest or which == "top" else which
        texts = [column for column, kind in EVENT_COLUMNS.items() if kind.type is ValueType.TEXT]
        if name not in texts:
            raise _Refused(
                (*at, subject), f"there is no value {shown(name)} of activities; {nearest(name, texts)}"
            )
        if "of" not in rest:
            raise _Refused(at, f"{subject} needs of: the activities whose {name} counts.")
        event = self._event("of", rest["of"], rest, at)
        kind: Literal["first", "last", "most_frequent"] = "most_frequent"
        if which in ("first", "last"):
            kind = "first" if which == "first" else "last"
        return Pick(kind, name, event)

    def _pick(self, which: str, name: str, rest: dict[str, Any], at: Location) -> Predicate:
        allowed = SUBJECTS[which]
        operators = {word: value for word, value in rest.items() if word not in allowed}
        for word in operators:
            if word not in OPERATORS:
                usable = [*allowed, *_usable(ValueType.TEXT)]
                raise _Refused(
                    (*at, word), f"{shown(word)} does not go with {which}; {nearest(word, usable)}"
                )
        pick = self._picked(which, name, rest, at)
        return self._comparison(Subject("value", name, ValueType.TEXT, pick), None, operators, at, which)

    def _top(self, name: str, rest: dict[str, Any], at: Location) -> Predicate:
        self._only("top", rest, at, "eq", "in")
        if "places" not in rest:
            raise _Refused(at, "top needs places: among how many of the most frequent values.")
        places = self._number(rest, "places", at, MAX_PLACES)
        pick = self._picked("top", name, rest, at)
        operators = {word: rest[word] for word in ("eq", "in") if word in rest}
        found = self._comparison(
            Subject("value", name, ValueType.TEXT, pick), None, operators, at, "top", ("eq", "in")
        )
        assert isinstance(found, Comparison)  # noqa: S101 - narrows the type
        return InTop(pick, places, tuple(str(value) for value in found.values))

    def _funnel(self, name: str, rest: dict[str, Any], at: Location) -> Predicate:
        funnels = self.vocabulary.funnels
        if funnels is None:
            raise _Refused((*at, "funnel"), f"a funnel cannot be named here; {self.vocabulary.place}.")
        self._only("funnel", rest, at)
        if name not in funnels:
            raise _Refused((*at, "funnel"), f"there is no funnel {shown(name)}; {nearest(name, funnels)}")
        steps = list(funnels[name])
        step = rest.get("at_step")
        if "at_step" not in rest:
            raise _Refused((*at, "funnel"), f"funnel {name} needs at_step: one of {', '.join(steps)}.")
        if step not in steps:
            raise _Refused(
                (*at, "at_step"), f"funnel {name} has no step {shown(step)}; {nearest(step, steps)}"
            )
        over = rest.get("window_over", False)
        if not isinstance(over, bool):
            raise _Refused((*at, "window_over"), "window_over must be true or false.")
        days = self._number(rest, "within_days", at, MAX_DAYS) if "within_days" in rest else None
        return AtStep(name, step, steps.index(step) + 1, days, over)

    # --- comparisons ---

    def _comparison(
        self,
        subject: Subject,
        allowed: tuple[str, ...] | None,
        rest: dict[str, Any],
        at: Location,
        field: str = "",
        operators: Sequence[str] = (),
    ) -> Predicate:
        """One operator on a subject, which stands in `field`; `operators` are those allowed, else all of its type."""
        usable = list(operators) or _usable(subject.type)
        field = field or subject.kind
        if not rest:
            raise _Refused((*at, field), f"{field} {subject.name} needs an operator: {', '.join(usable)}.")
        operator, raw = next(iter(rest.items()))
        here = (*at, operator)
        if operator not in OPERATORS:
            raise _Refused(here, f"there is no operator {shown(operator)}; {nearest(operator, usable)}")
        if len(rest) > 1:
            second = list(rest)[1]
            raise _Refused(
                (*at, second),
                "one condition has one operator; put the second one in a condition of its own below all:.",
            )
        if operator not in usable:
            raise _Refused(
                here,
                f"{operator} does not work on {subject.kind} {subject.name}, which is {_KINDS[subject.type]}; allowed: {', '.join(usable)}.",
            )
        if operator == "is_null":
            if not isinstance(raw, bool):
                raise _Refused(here, "is_null must be true or false.")
            return Comparison(subject, operator, (raw,))
        if operator == "contains" and not raw:
            raise _Refused(here, "contains needs a text of at least one character.")
        if operator == "within_days":
            if not isinstance(raw, int) or isinstance(raw, bool) or not 1 <= raw <= MAX_DAYS:
                raise _Refused(here, f"within_days must be a whole number from 1 to {MAX_DAYS}.")
            return Comparison(subject, operator, (raw,))
        if operator == "in":
            if not isinstance(raw, tuple) or not raw:
                raise _Refused(here, "in needs a list with at least one value, such as [a, b].")
            if len(raw) > MAX_LIST_VALUES:
                raise _Refused(here, f"in takes at most {MAX_LIST_VALUES} values.")
            values = tuple(
                self._value(subject, allowed, value, (*here, position)) for position, value in enumerate(raw)
            )
            repeated = next(
                (value for position, value in enumerate(values) if value in values[:position]), None
            )
            if repeated is not None:
                raise _Refused(
                    (*here, len(values) - 1 - values[::-1].index(repeated)),
                    f"{shown(repeated)} is listed twice.",
                )
            return Comparison(subject, operator, values)
        if operator == "between":
            if not isinstance(raw, tuple) or len(raw) != 2:
                raise _Refused(here, "between needs two values, both included: [from, to].")
            low = self._value(subject, allowed, raw[0], (*here, 0))
            high = self._value(subject, allowed, raw[1], (*here, 1))
            if low > high:  # type: ignore[operator]
                raise _Refused(
                    here, f"between {raw[0]} and {raw[1]} holds for nobody; put the smaller value first."
                )
            return Comparison(subject, operator, (low, high))
        if operator == "contains":
            allowed = None
        return Comparison(subject, operator, (self._value(subject, allowed, raw, here),))

    def _value(self, subject: Subject, allowed: tuple[str, ...] | None, raw: object, at: Location) -> Scalar:
        what = f"{subject.kind} {subject.name} is {_KINDS[subject.type]}"
        match subject.type:
            case ValueType.BOOLEAN if isinstance(raw, bool):
                return raw
            case ValueType.NUMBER if isinstance(raw, int | Decimal) and not isinstance(raw, bool):
                return raw
            case ValueType.TEXT if isinstance(raw, str):
                if allowed is not None and raw not in allowed:
                    raise _Refused(
                        at, f"{subject.kind} {subject.name} is never {shown(raw)}; {nearest(raw, allowed)}"
                    )
                return raw
            case ValueType.DATE if isinstance(raw, str):
                try:
                    date = dt.date.fromisoformat(raw)
                except ValueError:
                    raise _Refused(at, f"{what}: {shown(raw)} is no day; write YYYY-MM-DD.") from None
                if date.isoformat() != raw:
                    raise _Refused(at, f"{what}: write {shown(raw)} as {date.isoformat()}.")
                return date
        raise _Refused(
            at, f"{what}, so {shown(raw)} cannot be compared with it; write {_EXAMPLES[subject.type]}."
        )

    # --- conditions that nobody can meet together ---

    def _can_be_met(self, parts: Sequence[tuple[Location, Predicate]]) -> None:
        """Refuses parts of one `all` that exclude each other."""
        parts = _flattened(parts)
        compared: dict[Subject, list[tuple[Location, Comparison]]] = {}
        seen: list[Predicate] = []
        for at, part in parts:
            opposite = part.part if isinstance(part, Not) else Not(part)
            if opposite in seen:
                raise _Refused(at, f"nobody can meet {in_words(part)} and its opposite above at once.")
            seen.append(part)
            if not isinstance(part, Comparison):
                continue
            before = compared.setdefault(part.subject, [])
            for _, other in before:
                if not self._leaves_a_value(part.subject, [other, part]):
                    raise _Refused(
                        at,
                        f"nobody can meet {in_words(other)} and {in_words(part)} at once; change one of them.",
                    )
            before.append((at, part))
            if not self._leaves_a_value(part.subject, [one for _, one in before]):
                said = " and ".join(in_words(one) for _, one in before)
                raise _Refused(at, f"nobody can meet {said} at once; change one of them.")

    def _leaves_a_value(self, subject: Subject, wanted: Sequence[Comparison]) -> bool:
        """Whether some value, or its absence, meets all comparisons; days that move with as_of are left out."""
        wanted = [one for one in wanted if one.operator != "within_days"]
        if all(one.operator == "is_null" and one.values[0] is True for one in wanted):
            return True
        if any(one.operator == "is_null" and one.values[0] is True for one in wanted):
            return False
        wanted = [one for one in wanted if one.operator != "is_null"]
        named = {"column": self.vocabulary.columns, "segment": self.vocabulary.segments or {}}
        column = named.get(subject.kind, {}).get(subject.name)
        candidates: Sequence[Any] | None = None
        if subject.type is ValueType.BOOLEAN:
            candidates = (True, False)
        elif column is not None and column.values is not None:
            candidates = column.values
        elif subject.kind == "tag" and (tag := (self.vocabulary.tags or {}).get(subject.name)):
            candidates = tag.values
        for one in wanted:
            if one.operator in ("eq", "in"):
                candidates = one.values
        if candidates is None and subject.type in _ORDERED:
            is_whole = subject.type is ValueType.DATE or (
                column is not None and column.sql_type.split("(")[0] in _WHOLE_TYPES
            )
            return _range_has_a_value(wanted, is_whole=is_whole)
        if candidates is None:
            return True
        return any(all(compare(value, one.operator, one.values) for one in wanted) for value in candidates)


_WHOLE_TYPES = ("tinyint", "smallint", "integer", "int", "bigint", "hugeint")


def _usable(kind: ValueType) -> list[str]:
    return [operator for operator, types in OPERATORS.items() if kind in types]


def _flattened(parts: Sequence[tuple[Location, Predicate]]) -> list[tuple[Location, Predicate]]:
    flat: list[tuple[Location, Predicate]] = []
    for at, part in parts:
        if isinstance(part, All):
            flat += _flattened([((*at, "all", position), inner) for position, inner in enumerate(part.parts)])
        else:
            flat.append((at, part))
    return flat


def _range_has_a_value(wanted: Sequence[Comparison], *, is_whole: bool) -> bool:
    """Whether numbers or days are left between the bounds that comparisons other than eq and in set."""
    low: tuple[Any, bool] | None = None  # the bound, and whether it is itself outside
    high: tuple[Any, bool] | None = None
    for one in wanted:
        first, last = one.values[0], one.values[-1]
        if one.operator in ("gt", "gte", "between"):
            bound = (first, one.operator == "gt")
            low = bound if low is None else max(low, bound)
        if one.operator in ("lt", "lte", "between"):
            bound = (last, one.operator == "lt")
            high = bound if high is None or (bound[0], not bound[1]) < (high[0], not high[1]) else high
    if low is None or high is None:
        return True
    least, most = low[0], high[0]
    if is_whole:
        least, most = _whole(least, out=low[1], up=True), _whole(most, out=high[1], up=False)
        excluded = {one.values[0] for one in wanted if one.operator == "ne"}
        span = (most - least).days if isinstance(least, dt.date) else most - least
        if span < 0 or span > len(excluded):
            return bool(span >= 0)
        step = dt.timedelta(days=1) if isinstance(least, dt.date) else 1
        return any(least + step * n not in excluded for n in range(int(span) + 1))
    if least != most:
        return bool(least < most)
    return (
        not low[1] and not high[1] and all(one.operator != "ne" or one.values[0] != least for one in wanted)
    )


def _whole(bound: Any, *, out: bool, up: bool) -> Any:
    """The outermost whole number, or day, inside a bound that is itself inside unless `out`."""
    if isinstance(bound, dt.date):
        return bound + dt.timedelta(days=(1 if up else -1) * out)
    number = Decimal(bound)
    nearest_inside = int(number.to_integral_value("ROUND_CEILING" if up else "ROUND_FLOOR"))
    return nearest_inside + (1 if up else -1) * (out and nearest_inside == number)


_KINDS = {
    ValueType.TEXT: "text",
    ValueType.NUMBER: "a number",
    ValueType.DATE: "a day",
    ValueType.BOOLEAN: "true or false",
    ValueType.MOMENT: "a moment (compare a day or a number of days instead)",
}
_EXAMPLES = {
    ValueType.TEXT: 'text, in quotes if it looks like a number ("0571")',
    ValueType.NUMBER: "a number without quotes",
    ValueType.DATE: "a day as YYYY-MM-DD",
    ValueType.BOOLEAN: "true or false",
    ValueType.MOMENT: "true or false after is_null",
}
