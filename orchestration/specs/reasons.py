"""Why a rule holds for one user, or does not: the rule taken apart, each condition beside what is known of the user.

The verdict of every part is that of `predicates.holds`; nothing is judged here a second time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestration.specs.predicates import (
    All,
    AnyOf,
    Comparison,
    HasTag,
    InAudience,
    Not,
    Predicate,
    holds,
    in_words,
)

Kind = Literal["all", "any", "not", "column", "tag", "audience"]


@dataclass(frozen=True)
class Facts:
    """What is known of one user: columns of the wide table, values of the tags that are set, audiences."""

    row: Mapping[str, Any]
    tags: Mapping[str, Any]
    audiences: Collection[str]
    as_of: dt.date


@dataclass(frozen=True)
class Reason:
    """One part of a rule for one user.

    all, any and not have `parts`; column, tag and audience have a `subject`, what is `wanted` of it in words (empty:
    to be set, to be a member) and what was `found` (None: nothing is known).
    """

    kind: Kind
    holds: bool
    subject: str = ""
    wanted: str = ""
    found: Any = None
    parts: tuple[Reason, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The reason as nested plain values."""
        if self.parts:
            return {"kind": self.kind, "holds": self.holds, "parts": [part.to_dict() for part in self.parts]}
        return {
            "kind": self.kind,
            "subject": self.subject,
            "wanted": self.wanted,
            "found": self.found,
            "holds": self.holds,
        }

    def leaves(self) -> list[Reason]:
        """The conditions on columns, tags and audiences, in order."""
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self]


def explain(predicate: Predicate, facts: Facts) -> Reason:
    """The rule taken apart for one user."""
    verdict = holds(predicate, facts.row, facts.tags, facts.audiences, facts.as_of)
    match predicate:
        case All(parts):
            return Reason("all", verdict, parts=tuple(explain(part, facts) for part in parts))
        case AnyOf(parts):
            return Reason("any", verdict, parts=tuple(explain(part, facts) for part in parts))
        case Not(part):
            return Reason("not", verdict, parts=(explain(part, facts),))
        case HasTag(tag):
            return Reason("tag", verdict, tag, found=facts.tags.get(tag))
        case InAudience(audience):
            return Reason("audience", verdict, audience, found=audience in facts.audiences)
        case Comparison(subject, _, _):
            known = facts.row if subject.kind == "column" else facts.tags
            wanted = in_words(predicate, lambda _: "").strip()
            kind: Kind = "column" if subject.kind == "column" else "tag"
            return Reason(kind, verdict, subject.name, wanted, known.get(subject.name))
