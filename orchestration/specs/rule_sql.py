"""What rules on users read besides the wide table: answers of activities, segmentations, attempts at funnels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from orchestration.specs.catalog import KEY, Segment
from orchestration.specs.event_sql import MODEL, RESULT
from orchestration.specs.predicates import (
    Counted,
    Names,
    Predicate,
    counted_column,
    counted_in,
    funnels_in,
    segments_in,
)

ATTEMPTS = "funnel_users"


def dbt_ref(model: str) -> str:
    """A model in a dbt model."""
    return f"{{{{ ref('{model}') }}}}"


def segment_column(name: str) -> str:
    """Column of the users of a statement that holds the value in a segmentation."""
    return f"segment__{name}"


@dataclass(frozen=True)
class Sources:
    """What the rules of one statement read besides the wide table and tags."""

    counted: tuple[Counted, ...]
    segments: tuple[Segment, ...]
    has_attempts: bool

    @classmethod
    def of(cls, rules: Iterable[Predicate], segments: Mapping[str, Segment]) -> Sources:
        """The sources of these rules, each once and in a fixed order."""
        rules = list(rules)
        counted = {counted_column(q): q for rule in rules for q in counted_in(rule)}
        named = sorted({name for rule in rules for name in segments_in(rule)})
        return cls(
            tuple(counted[column] for column in sorted(counted)),
            tuple(segments[name] for name in named),
            any(funnels_in(rule) for rule in rules),
        )

    @property
    def tables(self) -> list[str]:
        """Tables of the segmentations."""
        return sorted({segment.table for segment in self.segments})

    def imports(self, relation: Callable[[str], str] = dbt_ref) -> list[str]:
        """Import CTEs, without the one that answers what activities are asked."""
        names = [*self.tables, *([ATTEMPTS] if self.has_attempts else [])]
        return [f"{name} as (select * from {relation(name)})" for name in names]

    def dbt_imports(self) -> str:
        """Import CTEs of a dbt model."""
        ctes = [f"{RESULT} as (select * from {dbt_ref(MODEL)})"] if self.counted else []
        return "".join(f"    {cte},\n" for cte in [*ctes, *self.imports()])

    def columns(self) -> list[str]:
        """Columns to select beside those of the wide table."""
        return [f"{RESULT}.{counted_column(question)}" for question in self.counted] + [
            f"{segment.table}.{segment.column.name} as {segment_column(segment.name)}"
            for segment in self.segments
        ]

    def joins(self, users: str = "user_wide") -> list[str]:
        """Joins of these sources to the users, one row each."""
        tables = [*([RESULT] if self.counted else []), *self.tables]
        return [f"left join {table} on {users}.{KEY} = {table}.{KEY}" for table in tables]


class UserNames(Names):
    """Names in a statement over a CTE `users` that has the columns of `Sources`."""

    def column(self, name: str) -> str:
        """A column of the wide table."""
        return f"users.{name}"

    def segment(self, name: str) -> str:
        """The value in a segmentation."""
        return f"users.{segment_column(name)}"

    def counted(self, counted: Counted) -> str:
        """The answer to a question on activities."""
        return f"users.{counted_column(counted)}"

    def attempts(self) -> str:
        """The attempts at funnels."""
        return ATTEMPTS

    def user_id(self) -> str:
        """The user's id."""
        return f"users.{KEY}"
