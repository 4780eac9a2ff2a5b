"""Tags: what each means, what sets it, how long it holds. One file per family of tags."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.documents import (
    Label,
    Line,
    Location,
    Name,
    Paragraph,
    Problem,
    SpecModel,
    nearest,
    shown,
)
from orchestration.specs.generated import csv_text, dbt_day, model_header
from orchestration.specs.kinds import Kind, Loaded, Project
from orchestration.specs.predicates import (
    Predicate,
    TagType,
    Vocabulary,
    columns_in,
    in_words,
    literal,
    read_predicate,
    to_sql,
    to_sql_boolean,
)

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


class CaseSpec(SpecModel):
    """One value of an enumerated tag: the first case that holds gives the value."""

    value: Name = Field(description="Code of the value")
    title: Label
    when: Any = Field(description="Condition")


class ValueSpec(SpecModel):
    """A value that a tag takes from a text column, with its label."""

    value: Line = Field(description="The value as the column has it")
    title: Label


class TagSpec(SpecModel):
    """One tag. Exactly one of `when` (set or not), `cases` (one of a list) and `column` (the column's value)."""

    tag: Name = Field(description="Code of the tag, unique over all families")
    title: Label
    description: Paragraph = Field(description="What it means, for the people who use it")
    when: Any = Field(None, description="Condition that sets a yes/no tag")
    cases: tuple[CaseSpec, ...] | None = Field(
        None, min_length=1, max_length=100, description="Values in order"
    )
    column: str | None = Field(None, description="Column of user_wide whose value the tag takes")
    values: tuple[ValueSpec, ...] | None = Field(
        None, min_length=1, max_length=200, description="With column: the values it can take, with labels"
    )
    needs: tuple[str, ...] = Field(
        (),
        description="Columns that must be known; if one is empty the tag cannot be evaluated for that user",
    )
    validity_days: int | None = Field(
        None,
        ge=1,
        le=3650,
        description="Days after the last confirmation until the tag expires; empty = never",
    )
    first_set_by: str | None = Field(None, description="Date column: since when the tag is set")
    confirmed_by: str | None = Field(None, description="Date column: when it was last confirmed")
    evidence: str | None = Field(None, description="Number column: how many facts speak for it; else 1")
    weight: str | None = Field(None, description="Number column: the tag's weight; else 1")
    owner: Line | None = Field(None, description="Who answers for it, if not the owner of the family")
    status: Literal["active", "draft", "retired"] = Field(
        "active", description="Only active tags are computed; the others stand in the catalogue"
    )

    @model_validator(mode="after")
    def _one_rule(self) -> TagSpec:
        given = [name for name in ("when", "cases", "column") if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            raise PydanticCustomError(
                "refused",
                "tag {tag} needs exactly one of when (a condition), cases (values in order), column (a column's value); given: {said}.",
                {"tag": self.tag, "said": said},
            )
        if self.values is not None and self.column is None:
            raise PydanticCustomError(
                "refused", "tag {tag}: values goes with column only.", {"tag": self.tag}
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
    def words(self) -> str:
        """Its rule on one line."""
        if self.rule is not None:
            return in_words(self.rule)
        if self.cases:
            return "; ".join(f"{value}: {in_words(rule)}" for value, rule in self.cases)
        return f"value of {self.spec.column}"

    @property
    def rule_hash(self) -> str:
        """Changes when what sets the tag, or how long it holds, changes."""
        content = f"{self.words}\n{self.spec.needs}\n{self.spec.validity_days}\n{self.spec.confirmed_by}"
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def columns(self) -> set[str]:
        """Columns of the wide table that it reads."""
        rules = [self.rule] if self.rule is not None else [rule for _, rule in self.cases]
        extra = [
            self.spec.column,
            self.spec.first_set_by,
            self.spec.confirmed_by,
            self.spec.evidence,
            self.spec.weight,
        ]
        return (
            {name for rule in rules for name in columns_in(rule)}
            | set(self.spec.needs)
            | {n for n in extra if n}
        )


def read_tags(project: Project) -> tuple[dict[str, Tag], list[Problem]]:
    """All tags by code, in the order of files and lines, and what is wrong with them."""
    tags: dict[str, Tag] = {}
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for loaded in project.of(KIND):
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
            tag, found = _read_tag(project.columns, loaded, spec, at)
            problems += found
            if tag is not None:
                tags[spec.tag] = tag
    return tags, problems


def _read_tag(
    columns: Mapping[str, Column], loaded: Loaded[TagFamilySpec], spec: TagSpec, at: Location
) -> tuple[Tag | None, list[Problem]]:
    document = loaded.document
    vocabulary = Vocabulary(columns)
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
    if spec.validity_days is not None and spec.confirmed_by is None:
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
    loaded: Loaded[TagFamilySpec], spec: TagSpec, source: Column, at: Location
) -> list[Problem]:
    document = loaded.document
    if source.type is not ValueType.TEXT:
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
        elif source.values is not None and value not in source.values:
            problems.append(
                document.problem(
                    here, f"column {source.name} is never {shown(value)}; {nearest(value, source.values)}"
                )
            )
    for missing in (value for value in source.values or () if value not in given):
        problems.append(
            document.problem(
                (*at, "values"), f"column {source.name} can be {shown(missing)}, which has no label here."
            )
        )
    return problems


def tag_types(tags: Mapping[str, Tag]) -> dict[str, TagType]:
    """What predicates may say about the active tags."""
    return {code: TagType(tag.type, tag.values) for code, tag in tags.items() if tag.is_active}


# --- SQL -------------------------------------------------------------------------------------------------


class _WideNames:
    """Names inside a statement that reads user_wide."""

    def column(self, name: str) -> str:
        return f"user_wide.{name}"

    def tag(self, name: str) -> str:
        raise NotImplementedError(f"the rule of a tag cannot read tag {name}")

    def tag_is_boolean(self, name: str) -> bool:
        raise NotImplementedError(f"the rule of a tag cannot read tag {name}")

    def members(self, audience: str) -> str:
        raise NotImplementedError(f"the rule of a tag cannot read audience {audience}")

    def user_id(self) -> str:
        return "user_wide.user_id"

    def as_of(self, days: int) -> str:
        return dbt_day(days)


_NAMES = _WideNames()


def value_column(code: str) -> str:
    """Column of int_tags__evaluated with a tag's value: typed, null when not set."""
    return f"tag__{code}"


def known_column(code: str) -> str:
    """Column of int_tags__evaluated that says whether a tag could be evaluated."""
    return f"known__{code}"


def _value_sql(tag: Tag) -> str:
    """The tag's value before validity and missing data are looked at."""
    if tag.rule is not None:
        return to_sql_boolean(tag.rule, _NAMES)
    if tag.cases:
        branches = " ".join(f"when {to_sql(rule, _NAMES)} then {literal(value)}" for value, rule in tag.cases)
        return f"case {branches} end"
    source = f"user_wide.{tag.spec.column}"
    if tag.values is None:
        return source
    return f"case when {source} in ({', '.join(literal(value) for value in tag.values)}) then {source} end"


def _known_sql(tag: Tag) -> str:
    needed = sorted({*tag.spec.needs, *([tag.spec.column] if tag.spec.column else [])})
    return " and ".join(f"user_wide.{name} is not null" for name in needed) or "true"


def _still_valid_sql(tag: Tag) -> str | None:
    if tag.spec.validity_days is None:
        return None
    confirmed = f"user_wide.{tag.spec.confirmed_by}"
    return f"coalesce({{{{ as_of() }}}} < {{{{ add_days('{confirmed}', {tag.spec.validity_days}) }}}}, true)"


def evaluated_sql(tags: Sequence[Tag]) -> str:
    """Model int_tags__evaluated: every active tag for every user, one pass over the wide table."""
    columns = ["user_wide.user_id"]
    for tag in tags:
        known, valid, value = _known_sql(tag), _still_valid_sql(tag), _value_sql(tag)
        conditions = [condition for condition in (known if known != "true" else None, valid) if condition]
        if tag.type is ValueType.BOOLEAN:
            inner = " and ".join([value, *([valid] if valid else [])])
            value = f"case when {known} then {inner} end" if known != "true" else inner
        elif conditions:
            value = f"case when {' and '.join(conditions)} then {value} end"
        columns.append(f"{value} as {value_column(tag.code)}")
        columns.append(f"{known} as {known_column(tag.code)}")
        for prefix, name in _declared(tag):
            columns.append(f"user_wide.{name} as {prefix}__{tag.code}")
    body = ",\n        ".join(columns)
    return (
        model_header("dbt_project/specs/tags/")
        + f"""with
    user_wide as (select * from {{{{ ref('user_wide') }}}}),

    final as (
        select
        {body}
        from user_wide
    )

select *
from final
"""
    )


# A project without tags keeps its marts, empty.
_NO_TAGS_SET = """        select
            user_id,
            '' as tag,
            '' as tag_value,
            cast(1 as double) as weight,
            {{ as_of() }} as first_set_on,
            {{ as_of() }} as last_confirmed_on,
            cast(null as date) as expires_on,
            cast(1 as bigint) as evidence_count
        from evaluated
        where false"""
_NO_TAGS_COUNTED = """        select '' as tag, 0 as users_count, 0 as set_count, 0 as not_set_count, 0 as not_evaluable_count
        from evaluated
        where false"""


def _declared(tag: Tag) -> list[tuple[str, str]]:
    spec = tag.spec
    pairs = [
        ("first", spec.first_set_by),
        ("confirmed", spec.confirmed_by),
        ("evidence", spec.evidence),
        ("weight", spec.weight),
    ]
    return [(prefix, name) for prefix, name in pairs if name]


def _text_sql(tag: Tag) -> str:
    column = value_column(tag.code)
    if tag.type is ValueType.BOOLEAN:
        return f"case when {column} then 'true' else 'false' end"
    return f"cast({column} as {{{{ dbt.type_string() }}}})"


def user_tags_sql(tags: Sequence[Tag]) -> str:
    """Model user_tags: one row per user and tag that is set."""
    parts = []
    for tag in tags:
        has = dict(_declared(tag))
        column, code = value_column(tag.code), tag.code
        confirmed = (
            f"coalesce(confirmed__{code}, {{{{ as_of() }}}})" if "confirmed" in has else "{{ as_of() }}"
        )
        # A first day after the last one would be a contradiction in the data; the earlier of both is safe.
        first = f"least(coalesce(first__{code}, {confirmed}), {confirmed})" if "first" in has else confirmed
        expires = (
            f"{{{{ add_days('confirmed__{code}', {tag.spec.validity_days}) }}}}"
            if tag.spec.validity_days is not None
            else "cast(null as date)"
        )
        where = column if tag.type is ValueType.BOOLEAN else f"{column} is not null"
        parts.append(
            f"""        select
            user_id,
            {literal(code)} as tag,
            {_text_sql(tag)} as tag_value,
            {f"coalesce(cast(weight__{code} as double), 1)" if "weight" in has else "cast(1 as double)"} as weight,
            {first} as first_set_on,
            {confirmed} as last_confirmed_on,
            {expires} as expires_on,
            {f"coalesce(cast(evidence__{code} as bigint), 1)" if "evidence" in has else "cast(1 as bigint)"} as evidence_count
        from evaluated
        where {where}"""
        )
    union = "\n        union all\n".join(parts or [_NO_TAGS_SET])
    return (
        model_header("dbt_project/specs/tags/")
        + f"""with
    evaluated as (select * from {{{{ ref('int_tags__evaluated') }}}}),

    set_tags as (
{union}
    ),

    final as (
        select
            user_id,
            cast(tag as {{{{ dbt.type_string() }}}}) as tag,
            cast(tag_value as {{{{ dbt.type_string() }}}}) as value,
            weight,
            {{{{ day_start('first_set_on') }}}} as first_set_at,
            {{{{ day_start('last_confirmed_on') }}}} as last_confirmed_at,
            {{{{ day_start('expires_on') }}}} as expires_at,
            evidence_count
        from set_tags
    )

select *
from final
"""
    )


def coverage_sql(tags: Sequence[Tag]) -> str:
    """Model tag_coverage: one row per active tag, users counted as set, not set, not evaluable."""
    parts = []
    for tag in tags:
        column = value_column(tag.code)
        is_set = column if tag.type is ValueType.BOOLEAN else f"{column} is not null"
        known = known_column(tag.code)
        parts.append(
            f"""        select
            {literal(tag.code)} as tag,
            count(*) as users_count,
            count(case when {is_set} then 1 end) as set_count,
            count(case when {known} and not coalesce({is_set}, false) then 1 end) as not_set_count,
            count(case when not {known} then 1 end) as not_evaluable_count
        from evaluated"""
        )
    union = "\n        union all\n".join(parts or [_NO_TAGS_COUNTED])
    return (
        model_header("dbt_project/specs/tags/")
        + f"""with
    evaluated as (select * from {{{{ ref('int_tags__evaluated') }}}}),

    counted as (
{union}
    ),

    final as (
        select
            cast(tag as {{{{ dbt.type_string() }}}}) as tag,
            {{{{ as_of() }}}} as as_of_date,
            cast(users_count as bigint) as users_count,
            cast(set_count as bigint) as set_count,
            cast(not_set_count as bigint) as not_set_count,
            cast(not_evaluable_count as bigint) as not_evaluable_count
        from counted
    )

select *
from final
"""
    )


# --- catalogue -------------------------------------------------------------------------------------------


_DEFINITION_FIELDS = (
    "tag",
    "title_zh",
    "title_en",
    "category",
    "category_zh",
    "category_en",
    "family",
    "family_zh",
    "family_en",
    "description",
    "value_type",
    "rule",
    "rule_hash",
    "source",
    "validity_days",
    "refresh",
    "owner",
    "status",
)


def definitions_csv(tags: Sequence[Tag]) -> str:
    """Seed of the tag catalogue."""
    rows = []
    for tag in tags:
        category = CATEGORY_LABELS[tag.family.category]
        rows.append(
            {
                "tag": tag.code,
                "title_zh": tag.spec.title.zh,
                "title_en": tag.spec.title.en,
                "category": tag.family.category,
                "category_zh": category[0],
                "category_en": category[1],
                "family": tag.family.family,
                "family_zh": tag.family.title.zh,
                "family_en": tag.family.title.en,
                "description": " ".join(tag.spec.description.split()),
                "value_type": tag.value_type,
                "rule": tag.words,
                "rule_hash": tag.rule_hash,
                "source": "user_wide: " + ", ".join(sorted(tag.columns)),
                "validity_days": "" if tag.spec.validity_days is None else str(tag.spec.validity_days),
                "refresh": "daily",
                "owner": tag.spec.owner or tag.family.owner,
                "status": tag.spec.status,
            }
        )
    return csv_text(_DEFINITION_FIELDS, rows)


def values_csv(tags: Sequence[Tag]) -> str:
    """Seed of the values that tags can take: one row per value of an enumerated tag, one for a yes/no tag."""
    rows = []
    for tag in tags:
        labelled: Sequence[CaseSpec | ValueSpec] = tag.spec.cases or tag.spec.values or ()
        entries = [(entry.value, entry.title) for entry in labelled]
        if tag.rule is not None:
            entries = [("true", tag.spec.title)]
        for position, (value, title) in enumerate(entries, start=1):
            rows.append(
                {
                    "tag": tag.code,
                    "value": value,
                    "position": str(position),
                    "title_zh": title.zh,
                    "title_en": title.en,
                }
            )
    return csv_text(("tag", "value", "position", "title_zh", "title_en"), rows)


def _check(project: Project) -> list[Problem]:
    return read_tags(project)[1]


def _compile(project: Project) -> dict[str, str]:
    tags = list(read_tags(project)[0].values())
    active = [tag for tag in tags if tag.is_active]
    return {
        "dbt_project/models/intermediate/tags/int_tags__evaluated.sql": evaluated_sql(active),
        "dbt_project/models/marts/tags/user_tags.sql": user_tags_sql(active),
        "dbt_project/models/marts/tags/tag_coverage.sql": coverage_sql(active),
        "seeds/catalog/catalog_tag_definitions.csv": definitions_csv(tags),
        "seeds/catalog/catalog_tag_values.csv": values_csv(tags),
    }


KIND: Kind[TagFamilySpec] = Kind("tags", TagFamilySpec, lambda spec: spec.family, _check, _compile)
