"""Conditions that a marketer declares: a closed set of operators, typed, rendered as SQL or evaluated in Python.

```yaml
all:                                        # every one holds; any: at least one; not: the one does not
  - {column: rfm_cell, in: [important_winback, important_keep]}
  - {column: days_since_order, between: [30, 90]}      # both ends included
  - {column: contact_added_date, within_days: 7}       # as_of and the 6 days before it
  - not: {tag: complaint_recent}            # the tag is set
  - {tag: price_band, eq: high}             # the tag's value
  - {audience: second_order}                # is a member of
```

Meaning of missing values: a condition on a column or tag that is empty for a user does not hold, whatever the
operator (`ne` too); `not` turns holds into does not hold. So every user either meets a condition or does not,
and `not` never loses anybody. `is_null` asks for emptiness itself.

A later operator is one more entry in `OPERATORS` or one more subject in `SUBJECTS`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.documents import Document, Location, Problem, nearest, shown

MAX_CONDITIONS = 200
MAX_LIST_VALUES = 1000
MAX_DAYS = 36_500

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
class Subject:
    """What a comparison looks at: a column of the wide table or the value of a tag."""

    kind: str  # column or tag
    name: str
    type: ValueType


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


Predicate = All | AnyOf | Not | Comparison | HasTag | InAudience


@dataclass(frozen=True)
class TagType:
    """What a predicate needs to know of a tag. `values` when it takes one of a declared list."""

    type: ValueType
    values: tuple[str, ...] | None = None


# --- reading ---------------------------------------------------------------------------------------------

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
    "within_days": frozenset({ValueType.DATE}),
    "is_null": frozenset(ValueType),
}
COMBINERS = ("all", "any", "not")
SUBJECTS = ("column", "tag", "audience")


class _Refused(Exception):
    def __init__(self, location: Location, text: str) -> None:
        super().__init__(text)
        self.location = location
        self.text = text


@dataclass(frozen=True)
class Vocabulary:
    """What may be named where a predicate stands. None = that subject is not allowed there, with the reason."""

    columns: Mapping[str, Column]
    tags: Mapping[str, TagType] | None = None
    audiences: Collection[str] | None = None
    table: str = "user_wide"  # what the columns belong to, in messages


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
        named = raw[subject]
        if not isinstance(named, str):
            raise _Refused((*at, subject), f"{subject} must be a name, not {shown(named)}.")
        return {"column": self._column, "tag": self._tag, "audience": self._audience}[subject](
            named, rest, at
        )

    def _combined(self, combiner: str, raw: object, at: Location) -> Predicate:
        if combiner == "not":
            return Not(self.read(raw, at))
        if not isinstance(raw, tuple) or not raw:
            raise _Refused(
                at, f"{combiner} needs a list of conditions, each on a line that begins with '- '."
            )
        parts = tuple(self.read(part, (*at, position)) for position, part in enumerate(raw))
        return All(parts) if combiner == "all" else AnyOf(parts)

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
            raise _Refused((*at, "tag"), "a tag cannot be named here; the rule of a tag reads columns.")
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
            raise _Refused(
                (*at, "audience"), "an audience cannot be named here; the rule of a tag reads columns."
            )
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

    def _comparison(
        self, subject: Subject, allowed: tuple[str, ...] | None, rest: dict[str, Any], at: Location
    ) -> Predicate:
        usable = [operator for operator, types in OPERATORS.items() if subject.type in types]
        if not rest:
            raise _Refused(
                (*at, subject.kind), f"{subject.kind} {subject.name} needs an operator: {', '.join(usable)}."
            )
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


class Names(Protocol):
    """How a SQL statement spells what a predicate names."""

    def column(self, name: str) -> str:
        """SQL of a column of the wide table."""

    def tag(self, name: str) -> str:
        """SQL of a tag's value, typed; for a boolean tag a boolean; null when it is not set."""

    def tag_is_boolean(self, name: str) -> bool:
        """Whether the tag is boolean."""

    def members(self, audience: str) -> str:
        """SQL of a subquery with the user ids of an audience."""

    def user_id(self) -> str:
        """SQL of the user's id."""

    def as_of(self, days: int) -> str:
        """SQL of the day that lies `days` after as_of (before, if negative)."""


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
        case Comparison(subject, operator, values):
            left = names.column(subject.name) if subject.kind == "column" else names.tag(subject.name)
            if operator == "is_null":
                return f"{left} is {'' if values[0] else 'not '}null"
            if operator == "between":
                return f"{left} between {literal(values[0])} and {literal(values[1])}"
            if operator == "within_days":
                return f"{left} between {names.as_of(1 - int(str(values[0])))} and {names.as_of(0)}"
            if operator == "in":
                return f"{left} in ({', '.join(literal(value) for value in values)})"
            return f"{left} {_SYMBOLS[operator]} {literal(values[0])}"


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


def holds(
    predicate: Predicate,
    row: Mapping[str, Any],
    tags: Mapping[str, Any] = {},
    audiences: Collection[str] = (),
    as_of: dt.date = dt.date.max,
) -> bool:
    """Whether a user meets a predicate: the meaning that the SQL must have, in plain Python.

    `row` holds the wide table's columns, `tags` the values of the tags that are set, `audiences` the audiences
    the user is a member of.
    """
    match predicate:
        case All(parts):
            return all(holds(part, row, tags, audiences, as_of) for part in parts)
        case AnyOf(parts):
            return any(holds(part, row, tags, audiences, as_of) for part in parts)
        case Not(part):
            return not holds(part, row, tags, audiences, as_of)
        case HasTag(tag):
            return tags.get(tag) not in (None, False)
        case InAudience(audience):
            return audience in audiences
        case Comparison(subject, operator, values):
            value = (row if subject.kind == "column" else tags).get(subject.name)
            if operator == "is_null":
                return (value is None) == values[0]
            if value is None:
                return False
            if operator == "within_days":
                return bool(as_of - dt.timedelta(days=int(str(values[0])) - 1) <= value <= as_of)
            # A double meets the double nearest to what was declared, as in the engine.
            given = [float(v) if isinstance(value, float) and isinstance(v, Decimal) else v for v in values]
            if operator == "between":
                return bool(given[0] <= value <= given[1])
            return value in given if operator == "in" else _COMPARE[operator](value, given[0])


# --- words -----------------------------------------------------------------------------------------------

_WORDS = {"eq": "=", "ne": "≠", "gt": ">", "gte": "≥", "lt": "<", "lte": "≤"}


def _subject_code(subject: Subject) -> str:
    return subject.name if subject.kind == "column" else f"tag {subject.name}"


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
        case Comparison(subject, operator, values):
            name = named(subject)
            if operator == "is_null":
                return f"{name} is {'' if values[0] else 'not '}empty"
            if operator == "between":
                return f"{name} from {_word(values[0])} to {_word(values[1])}"
            if operator == "within_days":
                return f"{name} within the last {values[0]} days"
            if operator == "in":
                return f"{name} in [{', '.join(_word(value) for value in values)}]"
            return f"{name} {_WORDS[operator]} {_word(values[0])}"


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
