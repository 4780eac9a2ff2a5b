"""Tags: what each means, what sets it, how long it holds. One file per family of tags."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.conditions import Vocabulary, read_predicate
from orchestration.specs.documents import (
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
from orchestration.specs.funnels import FunnelSpec, declared_names
from orchestration.specs.kinds import Loaded, Project
from orchestration.specs.predicates import (
    Predicate,
    TagType,
    columns_in,
    counted_in,
    events_of,
    funnels_in,
    in_words,
    segments_in,
)

FOLDER = "tags"  # below dbt_project/specs

Category = Literal[
    "attribute", "behaviour", "interest", "consumption", "social", "content", "lifecycle", "model", "manual"
]
CATEGORY_LABELS: dict[str, tuple[str, str]] = {
    "attribute": ("属性", "Attribute"),
    "behaviour": ("行为", "Behaviour"),
    "interest": ("兴趣", "Interest"),
    "consumption": ("消费", "Consumption"),
    "social": ("社交", "Social"),
    "content": ("内容", "Content"),
    "lifecycle": ("生命周期", "Lifecycle"),
    "model": ("模型", "Model"),
    "manual": ("人工", "Manual"),
}


OBSERVED = ("interest", "question", "by_hand")
"""Rules whose answers come from model int_tags__observed instead of the wide table."""
_RULES = ("when", "cases", "column", *OBSERVED)


class CaseSpec(SpecModel):
    """One value of an enumerated tag: the first case that holds gives the value."""

    value: Name = Field(description="Code of the value")
    title: Label
    when: Any = Field(description="Condition")


class ValueSpec(SpecModel):
    """A value that a tag takes from a text column, with its label."""

    value: Line = Field(description="The value as the column has it")
    title: Label


Dimension = Literal[
    "category_l1", "category_l2", "category_l3", "brand", "style", "topic", "format", "campaign_kind"
]
"""What an interest can be in; model int_interests__items says which products, contents and campaigns have it."""


class InterestSpec(SpecModel):
    """An interest that fades: weight = Σ strength · 0.5^(age in days / half-life), strengths in interest_strengths.csv."""

    dimension: Dimension = Field(description="What the interest is in")
    half_life_days: int = Field(ge=1, le=3650, description="Days after which an activity counts half")
    floor: int | Decimal = Field(
        gt=0, le=1_000_000, description="A value expires when its weight falls under this"
    )
    top: int = Field(3, ge=1, le=50, description="How many values user_interests lists")


class TagSpec(SpecModel):
    """One tag. Exactly one of `when` (set or not), `cases` (one of a list), `column` (the column's value), `interest`
    (what the user's activities are about most), `question` (answer to a survey) and `by_hand` (set by staff)."""

    tag: Name = Field(description="Code of the tag, unique over all families")
    title: Label
    description: Paragraph = Field(description="What it means, for the people who use it")
    when: Any = Field(None, description="Condition that sets a yes/no tag")
    cases: tuple[CaseSpec, ...] | None = Field(
        None, min_length=1, max_length=100, description="Values in order"
    )
    column: str | None = Field(
        None,
        description="Column of user_wide whose value the tag takes",
        json_schema_extra=names_of("value columns"),
    )
    interest: InterestSpec | None = Field(
        None, description="The value of a dimension that recent activities weigh most"
    )
    question: Line | None = Field(
        None, description="Question of the table surveys whose latest answer it takes"
    )
    by_hand: Literal[True] | None = Field(
        None, description="Rows of the table manual_tags with this tag set it; with values it takes theirs"
    )
    values: tuple[ValueSpec, ...] | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="With column, interest, question or by_hand: the values it can take, with labels",
    )
    needs: tuple[str, ...] = Field(
        (),
        description="Columns that must be known; if one is empty the tag cannot be evaluated for that user",
        json_schema_extra=names_of("columns"),
    )
    validity_days: int | None = Field(
        None,
        ge=1,
        le=3650,
        description="Days after the last confirmation until the tag expires; empty = never",
    )
    first_set_by: str | None = Field(
        None, description="Date column: since when the tag is set", json_schema_extra=names_of("date columns")
    )
    confirmed_by: str | None = Field(
        None,
        description="Date column: when it was last confirmed",
        json_schema_extra=names_of("date columns"),
    )
    evidence: str | None = Field(
        None,
        description="Number column: how many facts speak for it; else 1",
        json_schema_extra=names_of("number columns"),
    )
    weight: str | None = Field(
        None,
        description="Number column: the tag's weight; else 1",
        json_schema_extra=names_of("number columns"),
    )
    parent: Name | None = Field(None, description="The tag above it in the catalogue, of the same category")
    empty_result: Literal["clear", "keep"] = Field(
        "clear",
        description="When nobody at all gets the tag on a day: clear it, or keep it as it last was within history.days",
    )
    ask: Label | None = Field(
        None,
        description="What to ask a user for whom it is not known; makes it a candidate of next_questions",
    )
    owner: Line | None = Field(None, description="Who answers for it, if not the owner of the family")
    status: Literal["active", "draft", "retired"] = Field(
        "active", description="Only active tags are computed; the others stand in the catalogue"
    )

    @model_validator(mode="after")
    def _one_rule(self) -> TagSpec:
        given = [name for name in _RULES if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            raise PydanticCustomError(
                "refused",
                "tag {tag} needs exactly one of when (a condition), cases (values in order), column (a column's value), "
                "interest (what activities are about), question (answer to a survey), by_hand (set by staff); given: {said}.",
                {"tag": self.tag, "said": said},
            )
        if self.values is not None and given[0] in ("when", "cases"):
            raise PydanticCustomError(
                "refused",
                "tag {tag}: values goes with column, interest, question or by_hand only.",
                {"tag": self.tag},
            )
        if given[0] in OBSERVED:
            own = ("needs", "first_set_by", "confirmed_by", "evidence", "weight")
            if wrong := [name for name in own if getattr(self, name)]:
                raise PydanticCustomError(
                    "refused",
                    "tag {tag}: {wrong} does not go with {rule}, which brings its own days, evidence and weight.",
                    {"tag": self.tag, "wrong": " and ".join(wrong), "rule": given[0]},
                )
            if self.interest is not None and self.validity_days is not None:
                raise PydanticCustomError(
                    "refused",
                    "tag {tag}: an interest has no validity_days; it expires when its weight falls under the floor.",
                    {"tag": self.tag},
                )
        return self


class TagFamilySpec(SpecModel):
    """One family of tags: a file of dbt_project/specs/tags."""

    family: Name = Field(description="Code of the family, the same as the file's name")
    title: Label
    category: Category
    owner: Line = Field(description="Who answers for the family")
    tags: tuple[TagSpec, ...] = Field(min_length=1, max_length=200)


@dataclass(frozen=True)
class Tag:
    """A checked tag, ready to compile. `cases` has one entry for a yes/no tag, none for a column's value."""

    family: TagFamilySpec
    spec: TagSpec
    type: ValueType
    value_type: str  # boolean, enum, number, date, text
    rule: Predicate | None
    cases: tuple[tuple[str, Predicate], ...]
    values: tuple[str, ...] | None

    @property
    def code(self) -> str:
        """Code of the tag."""
        return self.spec.tag

    @property
    def is_active(self) -> bool:
        """Whether it is computed."""
        return self.spec.status == "active"

    @property
    def is_observed(self) -> bool:
        """Whether its value, days, evidence and weight come from int_tags__observed."""
        return any(getattr(self.spec, name) is not None for name in OBSERVED)

    @property
    def has_expiry(self) -> bool:
        """Whether it can expire."""
        return self.spec.validity_days is not None or self.spec.interest is not None

    @property
    def words(self) -> str:
        """Its rule on one line."""
        if (interest := self.spec.interest) is not None:
            return (
                f"{interest.dimension} of greatest weight, half of it after {interest.half_life_days} days, "
                f"from {interest.floor:g} on"
            )
        if self.spec.question is not None:
            return f"latest answer to the question {self.spec.question}"
        if self.spec.by_hand:
            return f"set by staff in manual_tags as {self.code}"
        if self.rule is not None:
            return in_words(self.rule)
        if self.cases:
            return "; ".join(f"{value}: {in_words(rule)}" for value, rule in self.cases)
        return f"value of {self.spec.column}"

    @property
    def rule_hash(self) -> str:
        """Changes when what sets the tag, or how long it holds, changes."""
        content = f"{self.words}\n{self.spec.needs}\n{self.spec.validity_days}\n{self.spec.confirmed_by}"
        if self.spec.empty_result != "clear":
            content += f"\n{self.spec.empty_result}"
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def rules(self) -> tuple[Predicate, ...]:
        """All its conditions."""
        return (self.rule,) if self.rule is not None else tuple(rule for _, rule in self.cases)

    @property
    def source(self) -> str:
        """What it is made from, in words."""
        if self.is_observed:
            tables = {"question": "surveys", "by_hand": "manual_tags", "interest": "activities, surveys"}
            return next(tables[name] for name in OBSERVED if getattr(self.spec, name) is not None)
        asked = [question for rule in self.rules for question in counted_in(rule)]
        parts = {
            "user_wide": self.columns,
            "activities": {name for q in asked for event in events_of(q) for name in event.activities},
            "segments": {name for rule in self.rules for name in segments_in(rule)},
            "funnels": {name for rule in self.rules for name in funnels_in(rule)},
        }
        return "; ".join(f"{what}: {', '.join(sorted(names))}" for what, names in parts.items() if names)

    @property
    def columns(self) -> set[str]:
        """Columns of the wide table that it reads."""
        extra = [
            self.spec.column,
            self.spec.first_set_by,
            self.spec.confirmed_by,
            self.spec.evidence,
            self.spec.weight,
        ]
        return (
            {name for rule in self.rules for name in columns_in(rule)}
            | set(self.spec.needs)
            | {n for n in extra if n}
        )


def user_vocabulary(
    project: Project,
    tags: Mapping[str, TagType] | None = None,
    audiences: Collection[str] | None = None,
) -> Vocabulary:
    """What a condition on a user may name; tags and audiences only where they are given."""
    funnels = {
        name: [step.name for step in loaded.spec.steps]
        for loaded in project.below("funnels", FunnelSpec)
        for name in declared_names(loaded.spec)
    }
    return Vocabulary(
        project.columns,
        tags,
        audiences,
        activities=project.activities,
        segments={name: segment.column for name, segment in project.segments.items()},
        funnels=funnels,
    )


def read_tags(project: Project) -> tuple[dict[str, Tag], list[Problem]]:
    """All tags by code, in the order of files and lines, and what is wrong with them."""
    tags: dict[str, Tag] = {}
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    vocabulary = user_vocabulary(project)
    for loaded in project.below(FOLDER, TagFamilySpec):
        for position, spec in enumerate(loaded.spec.tags):
            at: Location = ("tags", position)
            if spec.tag in seen:
                problems.append(
                    loaded.document.problem(
                        (*at, "tag"), f"tag {shown(spec.tag)} is already declared in {seen[spec.tag]}."
                    )
                )
                continue
            seen[spec.tag] = f"{loaded.document.file}:{loaded.document.line((*at, 'tag'))}"
            tag, found = _read_tag(vocabulary, loaded, spec, at)
            problems += found
            if tag is not None:
                tags[spec.tag] = tag
    if not problems:
        problems += _check_parents(project, tags)
    return tags, problems


def _read_tag(
    vocabulary: Vocabulary, loaded: Loaded[TagFamilySpec], spec: TagSpec, at: Location
) -> tuple[Tag | None, list[Problem]]:
    document, columns = loaded.document, vocabulary.columns
    problems: list[Problem] = []

    def column(field: str, types: set[ValueType], what: str, name: str | None, *deeper: int) -> None:
        if name is None:
            return
        found = columns.get(name)
        if found is None:
            problems.append(
                document.problem(
                    (*at, field, *deeper),
                    f"{field}: there is no column {shown(name)} in user_wide; {nearest(name, columns)}",
                )
            )
        elif found.type not in types:
            problems.append(
                document.problem(
                    (*at, field, *deeper), f"{field} needs {what}; {name} is {found.type.value}."
                )
            )

    everything = set(ValueType)
    column(
        "column",
        {ValueType.TEXT, ValueType.NUMBER, ValueType.DATE},
        "a text, number or date column (for true or false write when)",
        spec.column,
    )
    for position, name in enumerate(spec.needs):
        column("needs", everything, "a column", name, position)
    column("first_set_by", {ValueType.DATE}, "a date column", spec.first_set_by)
    column("confirmed_by", {ValueType.DATE}, "a date column", spec.confirmed_by)
    column("evidence", {ValueType.NUMBER}, "a number column", spec.evidence)
    column("weight", {ValueType.NUMBER}, "a number column", spec.weight)
    if spec.validity_days is not None and spec.confirmed_by is None and not _observed(spec):
        problems.append(
            document.problem(
                (*at, "validity_days"),
                "validity_days needs confirmed_by, the date column from which the days count.",
            )
        )
    rule: Predicate | None = None
    cases: list[tuple[str, Predicate]] = []
    values: tuple[str, ...] | None = None
    kind, value_type = ValueType.BOOLEAN, "boolean"
    if spec.when is not None:
        rule, found = read_predicate(spec.when, vocabulary, document, (*at, "when"))
        problems += found
    elif spec.cases is not None:
        kind, value_type = ValueType.TEXT, "enum"
        values = tuple(case.value for case in spec.cases)
        for position, case in enumerate(spec.cases):
            here = (*at, "cases", position)
            if case.value in values[:position]:
                problems.append(
                    document.problem((*here, "value"), f"value {shown(case.value)} is listed twice.")
                )
            condition, found = read_predicate(case.when, vocabulary, document, (*here, "when"))
            problems += found
            if condition is not None:
                if any(condition == earlier for _, earlier in cases):
                    problems.append(
                        document.problem(
                            (*here, "when"),
                            f"value {case.value} can never be reached: an earlier case has the same condition.",
                        )
                    )
                cases.append((case.value, condition))
    elif _observed(spec):
        kind, value_type = ValueType.TEXT, "text"
        if spec.values is not None:
            problems += _check_values(loaded, spec, None, at)
            value_type, values = "enum", tuple(value.value for value in spec.values)
        elif spec.by_hand:
            kind, value_type = ValueType.BOOLEAN, "boolean"
    elif (source := columns.get(spec.column or "")) is not None:
        kind = source.type
        value_type = {ValueType.TEXT: "text"}.get(kind, kind.value)
        if spec.values is not None:
            found = _check_values(loaded, spec, source, at)
            problems += found
            value_type, values = "enum", tuple(value.value for value in spec.values)
    if problems:
        return None, problems
    return Tag(loaded.spec, spec, kind, value_type, rule, tuple(cases), values), []


def _check_values(
    loaded: Loaded[TagFamilySpec], spec: TagSpec, source: Column | None, at: Location
) -> list[Problem]:
    document = loaded.document
    if source is not None and source.type is not ValueType.TEXT:
        return [
            document.problem(
                (*at, "values"), f"values goes with a text column; {source.name} is {source.type.value}."
            )
        ]
    problems = []
    given = [value.value for value in spec.values or ()]
    for position, value in enumerate(given):
        here = (*at, "values", position, "value")
        if value in given[:position]:
            problems.append(document.problem(here, f"value {shown(value)} is listed twice."))
        elif source is not None and source.values is not None and value not in source.values:
            problems.append(
                document.problem(
                    here, f"column {source.name} is never {shown(value)}; {nearest(value, source.values)}"
                )
            )
    if source is None:
        return problems
    for missing in (value for value in source.values or () if value not in given):
        problems.append(
            document.problem(
                (*at, "values"), f"column {source.name} can be {shown(missing)}, which has no label here."
            )
        )
    return problems


def _observed(spec: TagSpec) -> bool:
    return any(getattr(spec, name) is not None for name in OBSERVED)


def _check_parents(project: Project, tags: Mapping[str, Tag]) -> list[Problem]:
    """A parent is a tag of the same category, and nothing stands above itself."""
    problems: list[Problem] = []
    for loaded in project.below(FOLDER, TagFamilySpec):
        for position, spec in enumerate(loaded.spec.tags):
            if spec.parent is None or spec.tag not in tags:
                continue
            at: Location = ("tags", position, "parent")
            above = tags.get(spec.parent)
            if above is None:
                text = f"parent: there is no tag {shown(spec.parent)}; {nearest(spec.parent, tags)}"
                problems.append(loaded.document.problem(at, text))
            elif above.family.category != loaded.spec.category:
                text = f"parent: {above.code} is in category {above.family.category}, not in {loaded.spec.category}."
                problems.append(loaded.document.problem(at, text))
            else:
                chain = [spec.tag]
                while (up := tags.get(chain[-1])) is not None and up.spec.parent is not None:
                    if up.spec.parent in chain:
                        text = f"parent: {' below '.join([*chain, up.spec.parent])} is a circle."
                        problems.append(loaded.document.problem(at, text))
                        break
                    chain.append(up.spec.parent)
    return problems


def tag_types(tags: Mapping[str, Tag]) -> dict[str, TagType]:
    """What predicates may say about the active tags."""
    return {code: TagType(tag.type, tag.values) for code, tag in tags.items() if tag.is_active}
