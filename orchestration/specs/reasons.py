"""Why a rule holds for one user, or does not: the rule taken apart, each condition beside what is known of the user.

The verdict of every part is that of `predicates.holds`; nothing is judged here a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from orchestration.specs.predicates import (
    All,
    AnyOf,
    AtStep,
    Comparison,
    Did,
    Facts,
    HasTag,
    InAudience,
    InOrder,
    InTop,
    Not,
    Predicate,
    holds,
    in_words,
    picked,
)

Kind = Literal["all", "any", "not", "column", "tag", "segment", "audience", "activity", "funnel"]


@dataclass(frozen=True)
class Reason:
    """One part of a rule for one user.

    all, any and not have `parts`; the others have a `subject`, what is `wanted` of it in words (empty: to be set, to be a
    member; activities and funnels say all in `subject`) and what was `found` (None: nothing is known).
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
        """The conditions that have no parts, in order."""
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self]


def explain(predicate: Predicate, facts: Facts) -> Reason:
    """The rule taken apart for one user."""
    verdict = holds(predicate, facts)
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
        case Did(event):
            times = len(facts.of(event))
            return Reason("activity", verdict, in_words(predicate), found=times)
        case InOrder():
            return Reason("activity", verdict, in_words(predicate), found=verdict)
        case InTop(pick, places):
            return Reason(
                "activity", verdict, in_words(predicate), found=", ".join(picked(pick, facts)[:places])
            )
        case AtStep():
            return Reason("funnel", verdict, in_words(predicate), found=verdict)
        case Comparison(subject):
            value = facts.value(subject)
            if subject.pick is not None:
                return Reason("activity", verdict, in_words(predicate), found=value)
            kinds: dict[str, Kind] = {"tag": "tag", "segment": "segment"}
            wanted = in_words(predicate, lambda _: "").strip()
            return Reason(kinds.get(subject.kind, "column"), verdict, subject.name, wanted, value)
