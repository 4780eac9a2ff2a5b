"""Audiences as SQL, catalogue and exposures: what `jingxi compile` writes from dbt_project/specs/audiences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestration.specs.audiences import FOLDER, Audience, AudienceSpec, read_audiences
from orchestration.specs.catalog import KEY, Segment, ValueType
from orchestration.specs.documents import Problem
from orchestration.specs.generated import DBT_NAMES, csv_text, model_header, yaml_header, yaml_text
from orchestration.specs.kinds import Kind, Project
from orchestration.specs.predicates import Names, literal, to_sql
from orchestration.specs.rule_sql import Sources, UserNames
from orchestration.specs.tag_rules import value_column
from orchestration.specs.tags import Tag, read_tags


class _AudienceNames(UserNames):
    """Names inside the statements that compute audiences; `days` spells days and moments."""

    def __init__(self, tags: Mapping[str, Tag], days: Names) -> None:
        self.tags = tags
        self.days = days

    def tag(self, name: str) -> str:
        return f"users.{value_column(name)}"

    def tag_is_boolean(self, name: str) -> bool:
        return self.tags[name].type is ValueType.BOOLEAN

    def members(self, audience: str) -> str:
        return f"select user_id from {cte(audience)} where is_member"

    def as_of(self, days: int) -> str:
        return self.days.as_of(days)

    def moment(self, days: int) -> str:
        return self.days.moment(days)


def cte(audience: str) -> str:
    """Name of an audience's CTE; it cannot clash with a keyword or another CTE."""
    return f"audience__{audience}"


def audience_cte(audience: Audience, tags: Mapping[str, Tag], days: Names = DBT_NAMES) -> str:
    """The CTEs that compute one audience from the CTE `users`.

    `days` spells days and moments. Columns: user_id, suppressed_by (the first reason, else null), is_member.
    """
    names = _AudienceNames(tags, days)
    spec = audience.spec
    where = to_sql(audience.who, names)
    if spec.expires_on is not None:
        where = f"{days.as_of(0)} <= {literal(spec.expires_on)} and {where}"
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


def candidates_sql(
    audiences: Sequence[Audience], tags: Mapping[str, Tag], segments: Mapping[str, Segment]
) -> str:
    """Model int_audiences__candidates: who meets each audience, who of them is left out or over the limit."""
    columns = sorted({name for audience in audiences for name in audience.columns} - {KEY})
    used_tags = sorted({name for audience in audiences for name in audience.tags})
    selected = "".join(f",\n            user_wide.{name}" for name in columns)
    selected += "".join(f",\n            evaluated.{value_column(name)}" for name in used_tags)
    sources = Sources.of((rule for audience in audiences for rule in audience.rules), segments)
    selected += "".join(f",\n            {column}" for column in sources.columns())
    join = "\n        left join evaluated on user_wide.user_id = evaluated.user_id" if used_tags else ""
    join += "".join(f"\n        {line}" for line in sources.joins())
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

{evaluated}{sources.dbt_imports()}    users as (
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
            audiences, tags, project.segments
        ),
        "dbt_project/models/marts/audiences/_audiences__exposures.yml": exposures_yaml(by_name),
        "seeds/catalog/catalog_audience_definitions.csv": definitions_csv(by_name),
    }


KIND: Kind[AudienceSpec] = Kind(FOLDER, AudienceSpec, lambda spec: spec.audience, _check, _compile)
