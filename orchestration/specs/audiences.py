"""Audiences: who is meant, who is left out and why, how many, who is held out, what the file holds."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestration.specs.catalog import KEY, Column, ValueType
from orchestration.specs.documents import (
    Document,
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
from orchestration.specs.generated import csv_text, dbt_day, model_header, yaml_header, yaml_text
from orchestration.specs.kinds import Kind, Loaded, Project
from orchestration.specs.predicates import (
    Predicate,
    Vocabulary,
    audiences_in,
    columns_in,
    in_words,
    literal,
    read_predicate,
    tags_in,
    to_sql,
)
from orchestration.specs.tags import Tag, read_tags, tag_types, value_column

BUCKETS = 10_000
_BUCKETS_PER_PERCENT = BUCKETS // 100

Identifier = Literal[
    "unionid", "openid", "contact_id", "member_id", "phone", "email", "device_id", "buyer_id", "lead_id"
]


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

    column: str
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

    columns: tuple[str, ...] = Field((), max_length=60, description="Columns of user_wide")
    tags: tuple[str, ...] = Field((), max_length=60, description="Tags whose value is shown")
    identifiers: tuple[Identifier, ...] = Field(
        (), description="Identifiers, read at export from the private store; as few as the purpose needs"
    )
    formats: tuple[Literal["csv", "xlsx", "parquet"], ...] = Field(
        ("csv", "xlsx", "parquet"), min_length=1, description="Files to write"
    )


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
    suppress: tuple[tuple[str, Predicate], ...]
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
    loaded: Loaded[AudienceSpec], columns: Mapping[str, Column], tags: Mapping[str, Tag], names: Sequence[str]
) -> tuple[Audience | None, list[Problem]]:
    """One audience checked against the columns, tags and audiences that there are."""
    spec, document = loaded.spec, loaded.document
    types = tag_types(tags)
    vocabulary = Vocabulary(columns, types, names)
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
    listed("tags", spec.export.tags, list(types), "active tag")
    listed("identifiers", spec.export.identifiers, spec.export.identifiers, "identifier")
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
    loaded = project.of(KIND)
    names = [entry.spec.audience for entry in loaded]
    for entry in loaded:
        audience, found = read_audience(entry, project.columns, tags, names)
        problems += found
        if audience is not None:
            audiences[audience.name] = audience
    ordered, cycle = in_order(audiences)
    if cycle:
        problems.append(circle(audiences[cycle[0]], cycle))
    return {name: audiences[name] for name in ordered}, problems


def circle(first: Audience, cycle: Sequence[str]) -> Problem:
    """The problem of a circle, at the condition of its first audience that names the second one."""
    document = first.document
    found = [
        location
        for field in ("who", "suppress")
        for location in _mentions(document.data.get(field), cycle[1], (field,))
    ]
    text = f"audiences name each other in a circle: {' → '.join(cycle)}; remove one of these conditions."
    return document.problem(found[0] if found else ("who",), text)


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


# --- SQL -------------------------------------------------------------------------------------------------


class _UserNames:
    """Names inside the statements that read the CTE `users`."""

    def __init__(self, tags: Mapping[str, Tag], day: Callable[[int], str]) -> None:
        self.tags = tags
        self.day = day

    def column(self, name: str) -> str:
        return f"users.{name}"

    def tag(self, name: str) -> str:
        return f"users.{value_column(name)}"

    def tag_is_boolean(self, name: str) -> bool:
        return self.tags[name].type is ValueType.BOOLEAN

    def members(self, audience: str) -> str:
        return f"select user_id from {cte(audience)} where is_member"

    def user_id(self) -> str:
        return "users.user_id"

    def as_of(self, days: int) -> str:
        return self.day(days)


def cte(audience: str) -> str:
    """Name of an audience's CTE; it cannot clash with a keyword or another CTE."""
    return f"audience__{audience}"


def audience_cte(audience: Audience, tags: Mapping[str, Tag], day: Callable[[int], str] = dbt_day) -> str:
    """The CTEs that compute one audience from the CTE `users`.

    `day` spells the day some days after as_of. Columns: user_id, suppressed_by (the first reason, else null), is_member.
    """
    names = _UserNames(tags, day)
    spec = audience.spec
    where = to_sql(audience.who, names)
    if spec.expires_on is not None:
        where = f"{day(0)} <= {literal(spec.expires_on)} and {where}"
    branches = " ".join(
        f"when {to_sql(rule, names)} then {literal(reason)}" for reason, rule in audience.suppress
    )
    suppressed_by = f"case {branches} end" if branches else "case when false then '' end"
    name = cte(audience.name)
    if spec.limit is None:
        return f"""{name}__met as (
        select users.user_id, {suppressed_by} as suppressed_by
        from users
        where {where}
    ),

    {name} as (select user_id, suppressed_by, suppressed_by is null as is_member from {name}__met)"""
    ranked = ", ".join(
        f"{rank.column} {'desc' if rank.order == 'descending' else 'asc'} nulls last" for rank in spec.rank_by
    )
    columns = "".join(
        f", users.{name}" for name in dict.fromkeys(rank.column for rank in spec.rank_by) if name != KEY
    )
    return f"""{name}__met as (
        select users.user_id, {suppressed_by} as suppressed_by{columns}
        from users
        where {where}
    ),

    {name} as (
        select
            user_id,
            suppressed_by,
            suppressed_by is null
            and row_number() over (
                order by case when suppressed_by is null then 0 else 1 end asc nulls last, {ranked}, user_id asc nulls last
            )
            <= {spec.limit} as is_member
        from {name}__met
    )"""


def candidates_sql(audiences: Sequence[Audience], tags: Mapping[str, Tag]) -> str:
    """Model int_audiences__candidates: who meets each audience, who of them is left out or over the limit."""
    columns = sorted({name for audience in audiences for name in audience.columns} - {KEY})
    used_tags = sorted({name for audience in audiences for name in audience.tags})
    selected = "".join(f",\n            user_wide.{name}" for name in columns)
    selected += "".join(f",\n            evaluated.{value_column(name)}" for name in used_tags)
    join = "\n        left join evaluated on user_wide.user_id = evaluated.user_id" if used_tags else ""
    evaluated = "    evaluated as (select * from {{ ref('int_tags__evaluated') }}),\n\n" if used_tags else ""
    ctes = "".join(f"    {audience_cte(audience, tags)},\n\n" for audience in audiences)
    parts = [
        f"        select {literal(audience.name)} as audience, user_id, suppressed_by, is_member from {cte(audience.name)}"
        for audience in audiences
    ] or [
        "        select '' as audience, user_id, '' as suppressed_by, false as is_member from users where false"
    ]
    union = "\n        union all\n".join(parts)
    return (
        model_header("dbt_project/specs/audiences/")
        + f"""with
    user_wide as (select * from {{{{ ref('user_wide') }}}}),

{evaluated}    users as (
        select
            user_wide.user_id{selected}
        from user_wide{join}
    ),

{ctes}    candidates as (
{union}
    ),

    final as (
        select
            cast(audience as {{{{ dbt.type_string() }}}}) as audience,
            user_id,
            cast(suppressed_by as {{{{ dbt.type_string() }}}}) as suppressed_by,
            is_member
        from candidates
    )

select *
from final
"""
    )


# --- catalogue -------------------------------------------------------------------------------------------

_DEFINITION_FIELDS = (
    "audience",
    "title_zh",
    "title_en",
    "owner",
    "description",
    "definition",
    "definition_hash",
    "user_limit",
    "holdout_percent",
    "holdout_buckets",
    "holdout_salt",
    "columns",
    "tags",
    "identifiers",
    "formats",
    "expires_on",
)


def definitions_csv(audiences: Sequence[Audience]) -> str:
    """Seed of the audience catalogue."""
    rows = []
    for audience in audiences:
        spec = audience.spec
        rows.append(
            {
                "audience": audience.name,
                "title_zh": spec.title.zh,
                "title_en": spec.title.en,
                "owner": spec.owner,
                "description": " ".join(spec.description.split()),
                "definition": audience.definition,
                "definition_hash": audience.definition_hash,
                "user_limit": "" if spec.limit is None else str(spec.limit),
                "holdout_percent": str(spec.holdout.percent) if spec.holdout else "0",
                "holdout_buckets": str(spec.holdout_buckets),
                "holdout_salt": spec.holdout_salt,
                "columns": ", ".join(spec.export.columns),
                "tags": ", ".join(spec.export.tags),
                "identifiers": ", ".join(spec.export.identifiers),
                "formats": ", ".join(spec.export.formats),
                "expires_on": spec.expires_on.isoformat() if spec.expires_on else "",
            }
        )
    return csv_text(_DEFINITION_FIELDS, rows)


def exposures_yaml(audiences: Sequence[Audience]) -> str:
    """One exposure per audience, so that lineage ends where the file is used."""
    text = yaml_header("dbt_project/specs/audiences/") + "version: 2\n\n"
    if not audiences:
        return text + "exposures: []\n"
    text += "exposures:\n"
    for audience in audiences:
        spec = audience.spec
        description = f"{spec.title.zh} · {' '.join(spec.description.split())}"
        text += f"""  - name: audience_{audience.name}
    label: {yaml_text(spec.title.en)}
    type: application
    maturity: high
    description: {yaml_text(description)}
    depends_on:
      - ref('audience_members')
    owner:
      name: {yaml_text(spec.owner)}
"""
    return text


def _check(project: Project) -> list[Problem]:
    return read_audiences(project, read_tags(project)[0])[1]


def _compile(project: Project) -> dict[str, str]:
    tags = read_tags(project)[0]
    audiences = list(read_audiences(project, tags)[0].values())
    by_name = sorted(audiences, key=lambda audience: audience.name)
    return {
        "dbt_project/models/intermediate/audiences/int_audiences__candidates.sql": candidates_sql(
            audiences, tags
        ),
        "dbt_project/models/marts/audiences/_audiences__exposures.yml": exposures_yaml(by_name),
        "seeds/catalog/catalog_audience_definitions.csv": definitions_csv(by_name),
    }


KIND: Kind[AudienceSpec] = Kind("audiences", AudienceSpec, lambda spec: spec.audience, _check, _compile)
