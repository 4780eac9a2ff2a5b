"""Active tags as SQL and the tag catalogue: what `jingxi compile` writes from dbt_project/specs/tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestration.specs.catalog import Segment, ValueType
from orchestration.specs.documents import Problem
from orchestration.specs.generated import DBT_NAMES, csv_text, model_header
from orchestration.specs.kinds import Kind, Project
from orchestration.specs.predicates import Names, literal, to_sql, to_sql_boolean
from orchestration.specs.rule_sql import Sources, UserNames
from orchestration.specs.tags import (
    CATEGORY_LABELS,
    FOLDER,
    CaseSpec,
    Tag,
    TagFamilySpec,
    ValueSpec,
    read_tags,
)


class TagNames(UserNames):
    """Names inside the statement that evaluates tags; `days` spells days and moments."""

    def __init__(self, days: Names) -> None:
        self.days = days

    def as_of(self, days: int) -> str:
        """The day that lies some days after as_of."""
        return self.days.as_of(days)

    def moment(self, days: int) -> str:
        """The moment at which that day begins."""
        return self.days.moment(days)

    def later(self, day: str, days: int) -> str:
        """The day some days after another one."""
        return self.days.later(day, days)


_NAMES = TagNames(DBT_NAMES)


def value_column(code: str) -> str:
    """Column of int_tags__evaluated with a tag's value: typed, null when not set."""
    return f"tag__{code}"


def known_column(code: str) -> str:
    """Column of int_tags__evaluated that says whether a tag could be evaluated."""
    return f"known__{code}"


def _value_sql(tag: Tag, names: Names) -> str:
    """The tag's value before validity and missing data are looked at."""
    if tag.rule is not None:
        return to_sql_boolean(tag.rule, names)
    if tag.cases:
        branches = " ".join(f"when {to_sql(rule, names)} then {literal(value)}" for value, rule in tag.cases)
        return f"case {branches} end"
    source = names.column(tag.spec.column or "")
    if tag.values is None:
        return source
    return f"case when {source} in ({', '.join(literal(value) for value in tag.values)}) then {source} end"


def _known_sql(tag: Tag, names: Names) -> str:
    needed = sorted({*tag.spec.needs, *([tag.spec.column] if tag.spec.column else [])})
    return " and ".join(f"{names.column(name)} is not null" for name in needed) or "true"


def _still_valid_sql(tag: Tag, names: Names) -> str | None:
    if tag.spec.validity_days is None:
        return None
    confirmed = names.column(tag.spec.confirmed_by or "")
    return f"coalesce({names.as_of(0)} < {names.later(confirmed, tag.spec.validity_days)}, true)"


def evaluated(tag: Tag, names: Names) -> tuple[str, str]:
    """SQL of a tag's value (typed, null when not set) and of whether it could be evaluated."""
    known, valid, value = _known_sql(tag, names), _still_valid_sql(tag, names), _value_sql(tag, names)
    conditions = [condition for condition in (known if known != "true" else None, valid) if condition]
    if tag.type is ValueType.BOOLEAN:
        inner = " and ".join([value, *([valid] if valid else [])])
        value = f"case when {known} then {inner} end" if known != "true" else inner
    elif conditions:
        value = f"case when {' and '.join(conditions)} then {value} end"
    return value, known


def evaluated_sql(tags: Sequence[Tag], segments: Mapping[str, Segment]) -> str:
    """Model int_tags__evaluated: every active tag for every user, one pass over the wide table."""
    sources = Sources.of((rule for tag in tags for rule in tag.rules), segments)
    joined = ["user_wide.*", *sources.columns()]
    users = "select * from user_wide"
    if sources.joins():
        users = (
            f"select\n            {', '.join(joined)}\n        from user_wide\n        "
            + "\n        ".join(sources.joins())
        )
    columns = ["users.user_id"]
    for tag in tags:
        value, known = evaluated(tag, _NAMES)
        columns.append(f"{value} as {value_column(tag.code)}")
        columns.append(f"{known} as {known_column(tag.code)}")
        for prefix, name in _declared(tag):
            columns.append(f"users.{name} as {prefix}__{tag.code}")
    body = ",\n        ".join(columns)
    return (
        model_header("dbt_project/specs/tags/")
        + f"""with
    user_wide as (select * from {{{{ ref('user_wide') }}}}),
{sources.dbt_imports()}
    users as (
        {users}
    ),

    final as (
        select
        {body}
        from users
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
                "source": tag.source,
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
        "dbt_project/models/intermediate/tags/int_tags__evaluated.sql": evaluated_sql(
            active, project.segments
        ),
        "dbt_project/models/marts/tags/user_tags.sql": user_tags_sql(active),
        "dbt_project/models/marts/tags/tag_coverage.sql": coverage_sql(active),
        "seeds/catalog/catalog_tag_definitions.csv": definitions_csv(tags),
        "seeds/catalog/catalog_tag_values.csv": values_csv(tags),
    }


KIND: Kind[TagFamilySpec] = Kind(FOLDER, TagFamilySpec, lambda spec: spec.family, _check, _compile)
