"""Audiences: who is meant, who is left out and why, how many, who is held out, what the file holds."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestration.specs.catalog import KEY, ValueType
from orchestration.specs.conditions import Vocabulary, read_predicate
from orchestration.specs.documents import (
    Document,
    Label,
    Line,
    Location,
    Name,
    Paragraph,
    Problem,
    SpecModel,
    names_of,
    nearest,
    shown,
)
from orchestration.specs.kinds import Loaded, Project
from orchestration.specs.predicates import (
    InAudience,
    Predicate,
    TagType,
    audiences_in,
    columns_in,
    in_words,
    segments_in,
    tags_in,
)
from orchestration.specs.tags import Tag, tag_types, user_vocabulary

FOLDER = "audiences"  # below dbt_project/specs
BUCKETS = 10_000
_BUCKETS_PER_PERCENT = BUCKETS // 100


def _day(value: object) -> dt.date:
    if isinstance(value, dt.date):
        return value
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError("refused", "{shown} is no day; write YYYY-MM-DD.", {"shown": shown(value)})


class RankSpec(SpecModel):
    """One column by which users are ranked when there are more than the limit."""

    column: str = Field(description="Number or day of user_wide", json_schema_extra=names_of("rank columns"))
    order: Literal["descending", "ascending"] = Field(
        "descending", description="descending: the greatest first"
    )


class HoldoutSpec(SpecModel):
    """A random share that is left alone, so that the effect can be measured."""

    percent: int | Decimal = Field(description="Share in percent, up to two decimals")
    salt: Name | None = Field(
        None, description="Audiences with the same salt hold out the same users; else the name"
    )

    @model_validator(mode="after")
    def _share(self) -> HoldoutSpec:
        if not 0 < self.percent <= 50 or (Decimal(self.percent) * _BUCKETS_PER_PERCENT) % 1:
            raise PydanticCustomError(
                "refused", "percent must be above 0 and at most 50, with at most two decimals."
            )
        return self


class ExportSpec(SpecModel):
    """What the audience file holds, besides user_id."""

    columns: tuple[str, ...] = Field(
        (), max_length=60, description="Columns of user_wide", json_schema_extra=names_of("columns")
    )
    tags: tuple[str, ...] = Field(
        (), max_length=60, description="Tags whose value is shown", json_schema_extra=names_of("tags")
    )
    identifiers: tuple[Name, ...] = Field(
        (),
        description="Identifiers, read at export from the private store; as few as the purpose needs",
        json_schema_extra=names_of("identifiers"),
    )
    formats: tuple[Literal["csv", "xlsx", "parquet"], ...] = Field(
        ("csv", "xlsx", "parquet"), min_length=1, description="Files to write"
    )


class WaterfallSpec(SpecModel):
    """A group of audiences of which a user sits in one: the first by priority that takes her."""

    group: Name = Field(description="Audiences of the same group share out the users")
    priority: int = Field(
        ge=1, le=1_000_000, description="1 comes first; each audience of a group has its own"
    )


class GuardSpec(SpecModel):
    """Bounds of the size; beyond them no file is written until a person accepts it."""

    max_change_percent: int | Decimal | None = Field(
        None, gt=0, description="At most so many percent more or fewer members than in the last files"
    )
    min_members: int | None = Field(None, ge=0, description="At least so many members")
    max_members: int | None = Field(None, ge=0, description="At most so many members")

    @model_validator(mode="after")
    def _bounds(self) -> GuardSpec:
        if self.max_change_percent is None and self.min_members is None and self.max_members is None:
            raise PydanticCustomError(
                "refused", "a guard needs max_change_percent, min_members or max_members; or remove it."
            )
        if (
            self.min_members is not None
            and self.max_members is not None
            and self.min_members > self.max_members
        ):
            raise PydanticCustomError("refused", "min_members is above max_members: no size fits.")
        return self


class AudienceSpec(SpecModel):
    """One audience: a file of dbt_project/specs/audiences."""

    audience: Name = Field(description="Code of the audience, the same as the file's name")
    title: Label
    owner: Line = Field(description="Who answers for it")
    description: Paragraph = Field(description="What it is for")
    who: Any = Field(description="Condition that users must meet")
    suppress: dict[Name, Any] = Field(
        default_factory=dict,
        description="Reason → condition; users who meet one are left out, for the first reason",
    )
    limit: int | None = Field(None, ge=1, le=100_000_000, description="At most so many users")
    rank_by: tuple[RankSpec, ...] = Field(
        (), max_length=5, description="Who comes first when there is a limit"
    )
    holdout: HoldoutSpec | None = None
    waterfall: WaterfallSpec | None = None
    guard: GuardSpec | None = None
    export: ExportSpec = ExportSpec()
    expires_on: Annotated[dt.date | None, BeforeValidator(_day)] = Field(
        None, description="Last day on which the audience has members"
    )

    @model_validator(mode="after")
    def _fits(self) -> AudienceSpec:
        if self.limit is not None and not self.rank_by:
            raise PydanticCustomError("refused", "a limit needs rank_by, so that it is clear who stays.")
        if self.rank_by and self.limit is None:
            raise PydanticCustomError(
                "refused", "rank_by does nothing without a limit; add limit or remove it."
            )
        return self

    @property
    def holdout_buckets(self) -> int:
        """Buckets 0 … n-1 of 10 000 are held out."""
        return int(self.holdout.percent * _BUCKETS_PER_PERCENT) if self.holdout else 0

    @property
    def holdout_salt(self) -> str:
        """What is hashed with the user id."""
        return (self.holdout.salt if self.holdout else None) or self.audience


@dataclass(frozen=True)
class Audience:
    """A checked audience, ready to compile."""

    spec: AudienceSpec
    who: Predicate
    suppress: tuple[tuple[str, Predicate], ...]  # as declared, then the better placed ones of the waterfall
    document: Document

    @property
    def name(self) -> str:
        """Code of the audience."""
        return self.spec.audience

    @property
    def rules(self) -> tuple[Predicate, ...]:
        """All its predicates."""
        return (self.who, *(rule for _, rule in self.suppress))

    @property
    def columns(self) -> set[str]:
        """Columns of the wide table that decide on membership."""
        return {name for rule in self.rules for name in columns_in(rule)} | {
            rank.column for rank in self.spec.rank_by
        }

    @property
    def tags(self) -> set[str]:
        """Tags that decide on membership."""
        return {name for rule in self.rules for name in tags_in(rule)}

    @property
    def segments(self) -> set[str]:
        """Segmentations that decide on membership."""
        return {name for rule in self.rules for name in segments_in(rule)}

    @property
    def audiences(self) -> set[str]:
        """Audiences that it names."""
        return {name for rule in self.rules for name in audiences_in(rule)}

    @property
    def definition(self) -> str:
        """The whole membership rule in words, on one line."""
        parts = [in_words(self.who)]
        parts += [f"without {reason}: {in_words(rule)}" for reason, rule in self.suppress]
        if self.spec.limit is not None:
            ranks = ", ".join(f"{rank.column} {rank.order}" for rank in self.spec.rank_by)
            parts.append(f"first {self.spec.limit} by {ranks}")
        if self.spec.holdout:
            parts.append(f"{self.spec.holdout.percent} % held out with salt {self.spec.holdout_salt}")
        if self.spec.expires_on:
            parts.append(f"until {self.spec.expires_on.isoformat()}")
        return "; ".join(parts)

    @property
    def definition_hash(self) -> str:
        """Changes when who is a member, who is held out or what the file holds changes."""
        content = json.dumps([self.definition, self.spec.export.model_dump(mode="json")], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_audience(
    loaded: Loaded[AudienceSpec], project: Project, tags: Mapping[str, TagType], names: Collection[str]
) -> tuple[Audience | None, list[Problem]]:
    """One audience checked against the columns, active tags and audiences that there are."""
    return _read_audience(loaded, project, tags, user_vocabulary(project, tags, names))


def _read_audience(
    loaded: Loaded[AudienceSpec], project: Project, tags: Mapping[str, TagType], vocabulary: Vocabulary
) -> tuple[Audience | None, list[Problem]]:
    spec, document, columns = loaded.spec, loaded.document, project.columns
    who, problems = read_predicate(spec.who, vocabulary, document, ("who",))
    suppress = []
    for reason, raw in spec.suppress.items():
        rule, found = read_predicate(raw, vocabulary, document, ("suppress", reason))
        problems += found
        if rule is not None:
            suppress.append((reason, rule))

    def listed(field: str, values: Sequence[str], allowed: Sequence[str], what: str) -> None:
        for position, value in enumerate(values):
            at: Location = ("export", field, position)
            if value in values[:position]:
                problems.append(document.problem(at, f"{shown(value)} is listed twice."))
            elif value not in allowed:
                problems.append(
                    document.problem(at, f"there is no {what} {shown(value)}; {nearest(value, allowed)}")
                )

    listed("columns", spec.export.columns, [name for name in columns if name != KEY], "column")
    listed("tags", spec.export.tags, list(tags), "active tag")
    listed("identifiers", spec.export.identifiers, project.identifiers, "identifier")
    listed("formats", spec.export.formats, spec.export.formats, "format")
    for position, rank in enumerate(spec.rank_by):
        here: Location = ("rank_by", position, "column")
        column = columns.get(rank.column)
        if column is None:
            problems.append(
                document.problem(
                    here,
                    f"there is no column {shown(rank.column)} in user_wide; {nearest(rank.column, columns)}",
                )
            )
        elif column.type in (ValueType.TEXT, ValueType.BOOLEAN):
            problems.append(
                document.problem(
                    here,
                    f"users cannot be ranked by {rank.column}, which is {column.type.value}; use a number or a day.",
                )
            )
    if who is None or problems:
        return None, problems
    return Audience(spec, who, tuple(suppress), document), []


def read_audiences(project: Project, tags: Mapping[str, Tag]) -> tuple[dict[str, Audience], list[Problem]]:
    """All audiences, those that others name first, and what is wrong with them."""
    audiences: dict[str, Audience] = {}
    problems: list[Problem] = []
    loaded = project.below(FOLDER, AudienceSpec)
    names = [entry.spec.audience for entry in loaded]
    types = tag_types(tags)
    vocabulary = user_vocabulary(project, types, frozenset(names))
    for entry in loaded:
        audience, found = _read_audience(entry, project, types, vocabulary)
        problems += found
        if audience is not None:
            audiences[audience.name] = audience
    audiences, found = with_waterfalls(audiences)
    problems += found
    ordered, cycle = in_order(audiences)
    if cycle:
        problems.append(circle(audiences[cycle[0]], cycle))
    return {name: audiences[name] for name in ordered}, problems


def with_waterfalls(audiences: Mapping[str, Audience]) -> tuple[dict[str, Audience], list[Problem]]:
    """The audiences, each leaving out the members of those that come before it in its group, and what is wrong.

    A user whom a better placed audience leaves out, or has no room for, is still to be had by the next one.
    """
    groups: dict[str, list[Audience]] = {}
    for audience in audiences.values():
        if audience.spec.waterfall:
            groups.setdefault(audience.spec.waterfall.group, []).append(audience)
    placed = dict(audiences)
    problems: list[Problem] = []
    for group, members in groups.items():
        members.sort(key=lambda audience: (_priority(audience), audience.name))
        for better, audience in pairwise(members):
            if _priority(better) == _priority(audience):
                problems.append(
                    audience.document.problem(
                        ("waterfall", "priority"),
                        f"{better.name} has the priority {_priority(better)} in the group {group} too; "
                        "give each audience of a group its own.",
                    )
                )
        for position, audience in enumerate(members):
            declared = tuple(
                (reason, rule) for reason, rule in audience.suppress if reason in audience.spec.suppress
            )
            better_ones = tuple(
                (placed_in(other.name), InAudience(other.name)) for other in members[:position]
            )
            problems += [
                audience.document.problem(
                    ("suppress", reason),
                    f"the waterfall gives the reason {reason} itself; choose another name.",
                )
                for reason, _ in better_ones
                if reason in audience.spec.suppress
            ]
            placed[audience.name] = replace(audience, suppress=declared + better_ones)
    return placed, problems


def placed_in(audience: str) -> str:
    """The reason for which a user is left out because a better placed audience of the waterfall has her."""
    return f"placed_in_{audience}"


def _priority(audience: Audience) -> int:
    return audience.spec.waterfall.priority if audience.spec.waterfall else 0


def circle(first: Audience, cycle: Sequence[str]) -> Problem:
    """The problem of a circle, at the condition of its first audience that names the second one."""
    document = first.document
    found = [
        location
        for field in ("who", "suppress")
        for location in _mentions(document.data.get(field), cycle[1], (field,))
    ]
    text = f"audiences name each other in a circle: {' → '.join(cycle)}; remove one of these conditions."
    if not found:
        text += " An audience of a waterfall names all that come before it."
    return document.problem(found[0] if found else ("waterfall",), text)


def _mentions(raw: object, audience: str, at: Location) -> list[Location]:
    if isinstance(raw, dict):
        here = [(*at, "audience")] if raw.get("audience") == audience else []
        return [
            *here,
            *(found for key, value in raw.items() for found in _mentions(value, audience, (*at, key))),
        ]
    if isinstance(raw, tuple):
        return [found for i, value in enumerate(raw) for found in _mentions(value, audience, (*at, i))]
    return []


def in_order(audiences: Mapping[str, Audience]) -> tuple[list[str], list[str]]:
    """Names so that whatever is named comes first, and a circle if there is one (its first name repeated at the end)."""
    done: list[str] = []
    finished: set[str] = set()
    for start in sorted(audiences):
        path: list[str] = []
        todo: list[tuple[str, bool]] = [(start, False)]
        while todo:
            name, leaving = todo.pop()
            if leaving:
                path.pop()
                finished.add(name)
                done.append(name)
            elif name in path:
                return done, [*path[path.index(name) :], name]
            elif name not in finished and name in audiences:
                path.append(name)
                todo.append((name, True))
                todo += [(other, False) for other in sorted(audiences[name].audiences, reverse=True)]
    return done, []
