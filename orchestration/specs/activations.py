"""Activation lines: which audience goes to which destination, how, when, and within which bounds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestration.specs.audiences import Audience, AudienceSpec, read_audiences
from orchestration.specs.catalog import KEY
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
from orchestration.specs.generated import csv_text
from orchestration.specs.kinds import Kind, Loaded, Project
from orchestration.specs.tags import read_tags

FOLDER = "activations"  # below dbt_project/specs
MEMBERSHIP_COLUMNS = ("user_id", "entered_date")
_DESTINATION = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]\Z")


def _matches(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise PydanticCustomError(
                "refused", "{shown} is no {what}.", {"shown": shown(value), "what": what}
            )
        return value

    return AfterValidator(check)


DestinationName = Annotated[
    str,
    _matches(_DESTINATION, "name of a destination: 1 to 64 of a-z, 0-9, hyphen, underscore, a letter first"),
]
FieldName = Annotated[
    str,
    _matches(
        _FIELD, "name of a field: 1 to 64 letters, digits, points, hyphens or underscores, a letter first"
    ),
]
TimeOfDay = Annotated[str, _matches(_TIME, "time of day; write HH:MM in quotes, such as '10:00'")]


class FieldSpec(SpecModel):
    """Where the value of one field comes from; exactly one of them."""

    column: str | None = Field(
        None, description="Column of user_wide, or entered_date", json_schema_extra=names_of("field columns")
    )
    tag: str | None = Field(None, description="Tag whose value is sent", json_schema_extra=names_of("tags"))
    identifier: str | None = Field(
        None, description="Type of identifier, the latest seen one", json_schema_extra=names_of("identifiers")
    )
    value: str | int | Decimal | bool | None = Field(None, description="The same for every record")

    @model_validator(mode="after")
    def _one(self) -> FieldSpec:
        if len(self.model_fields_set) != 1 or getattr(self, next(iter(self.model_fields_set))) is None:
            raise PydanticCustomError("refused", "needs exactly one of column, tag, identifier, value.")
        return self


class PushGuardSpec(SpecModel):
    """Bounds beyond which a run waits until a person approves it; a bound itself is allowed."""

    max_change_percent: int | Decimal | None = Field(
        50,
        gt=0,
        description="At most so many percent more or fewer members than in the last finished run; null: any",
    )
    max_removed_percent: int | Decimal | None = Field(
        30, gt=0, description="Removes at most so many percent of what the destination has; null: any"
    )


class ActivationSpec(SpecModel):
    """One activation line: a file of dbt_project/specs/activations."""

    activation: Name = Field(description="Code of the line, the same as the file's name")
    title: Label
    owner: Line = Field(description="Who answers for it, and for its dead letters")
    description: Paragraph = Field(description="What it is for")
    audience: Name = Field(description="Who is sent", json_schema_extra=names_of("audiences"))
    destination: DestinationName = Field(
        description="Where to: a name of the home's destinations.yml; outbox, files in the home, needs no entry there"
    )
    mode: Literal["full", "insert", "update", "upsert", "mirror"] = Field(
        description="insert sends who is new, update who changed, upsert both, mirror also removes who left, full everybody"
    )
    purpose: Literal["marketing", "service"] = Field(description="marketing needs consent")
    channel: Name = Field(
        description="Channel that consent and contact rules know: wecom, sms, email, file, ads, …"
    )
    key: str = Field(
        description="What tells people apart there: a type of identifier, or user_id",
        json_schema_extra=names_of("keys"),
    )
    fields: dict[FieldName, FieldSpec] = Field(
        default_factory=dict,
        max_length=60,
        description="The destination's fields; as few as the purpose needs",
    )
    options: dict[Name, str | int | Decimal | bool] = Field(
        default_factory=dict,
        description="What the destination is told once for all: a tag's name, a template, a text",
    )
    priority: int = Field(
        100, ge=1, le=1_000_000, description="1 comes first when several lines want to reach a user"
    )
    sends_at: TimeOfDay | None = Field(
        None, description="Time of day at which it is meant to be sent, business time"
    )
    content_id: Line | None = Field(None, description="Content that is sent, so that nobody gets it twice")
    campaign_id: Line | None = Field(None, description="Campaign that answers are counted for")
    guard: PushGuardSpec = PushGuardSpec()


def check_activations(project: Project) -> Sequence[Problem]:
    """What is wrong with the lines of a project: audiences, columns, tags and identifiers that there are not."""
    audiences = [entry.spec.audience for entry in project.below("audiences", AudienceSpec)]
    tags = [code for code, tag in read_tags(project)[0].items() if tag.is_active]
    columns = [*MEMBERSHIP_COLUMNS, *(name for name in project.columns if name != KEY)]
    keys = [KEY, *project.identifiers]
    problems: list[Problem] = []
    for entry in project.of(KIND):
        spec, document = entry.spec, entry.document

        def check(
            at: Location,
            what: str,
            name: str | None,
            allowed: Sequence[str],
            entry: Loaded[ActivationSpec] = entry,
        ) -> None:
            if name is not None and name not in allowed:
                text = f"there is no {what} {shown(name)}; {nearest(name, allowed)}"
                problems.append(entry.document.problem(at, text))

        check(("audience",), "audience", spec.audience, audiences)
        check(("key",), "identifier", spec.key, keys)
        for name, source in spec.fields.items():
            at: Location = ("fields", name)
            check(at, "column", source.column, columns)
            check(at, "active tag", source.tag, tags)
            check(at, "identifier", source.identifier, project.identifiers)
        if (
            spec.mode == "full"
            and spec.purpose == "marketing"
            and spec.channel not in ("file", "files", "ads")
        ):
            problems.append(
                document.problem(
                    ("mode",),
                    f"full sends everybody again each day, which {spec.channel} would be a nuisance for; use upsert, or insert.",
                )
            )
    return problems


_CATALOG_FIELDS = (
    "activation",
    "title_zh",
    "title_en",
    "owner",
    "audience",
    "destination",
    "mode",
    "purpose",
    "channel",
    "priority",
    "sends_at",
    "content_id",
    "campaign_id",
)


def compile_activations(project: Project) -> Mapping[str, str]:
    """The catalogue of lines, which the contact policy reads."""
    rows = [
        {
            "activation": spec.activation,
            "title_zh": spec.title.zh,
            "title_en": spec.title.en,
            "owner": spec.owner,
            "audience": spec.audience,
            "destination": spec.destination,
            "mode": spec.mode,
            "purpose": spec.purpose,
            "channel": spec.channel,
            "priority": str(spec.priority),
            "sends_at": spec.sends_at or "",
            "content_id": spec.content_id or "",
            "campaign_id": spec.campaign_id or "",
        }
        for spec in (entry.spec for entry in project.of(KIND))
    ]
    return {
        "seeds/catalog/catalog_activations.csv": csv_text(_CATALOG_FIELDS, rows),
        "seeds/catalog/catalog_tag_uses.csv": tag_uses_csv(
            read_audiences(project, read_tags(project)[0])[0].values(),
            [entry.spec for entry in project.of(KIND)],
        ),
    }


def tag_uses_csv(audiences: Iterable[Audience], lines: Iterable[ActivationSpec]) -> str:
    """Seed of what uses tags: one row per tag and audience that asks for it or exports it, or line that sends it."""
    rows = [
        {"tag": tag, "used_by_kind": "audience", "used_by": audience.name}
        for audience in audiences
        for tag in audience.tags | set(audience.spec.export.tags)
    ]
    rows += [
        {"tag": tag, "used_by_kind": "activation", "used_by": spec.activation}
        for spec in lines
        for tag in {source.tag for source in spec.fields.values() if source.tag}
    ]
    return csv_text(("tag", "used_by_kind", "used_by"), sorted(rows, key=lambda row: tuple(row.values())))


KIND: Kind[ActivationSpec] = Kind(
    FOLDER, ActivationSpec, lambda spec: spec.activation, check_activations, compile_activations
)
