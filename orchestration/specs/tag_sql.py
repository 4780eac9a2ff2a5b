"""Active tags as SQL and the tag catalogue: what `jingxi compile` writes from dbt_project/specs/tags."""

from __future__ import annotations

from orchestration.specs.documents import Problem
from orchestration.specs.kinds import Kind, Project
from orchestration.specs.tag_catalogue import definitions_csv, sources_csv, values_csv
from orchestration.specs.tag_days import day_counts_sql, evaluated_sql, kept_sql, user_days_sql, versions_sql
from orchestration.specs.tag_judged import judged_sql
from orchestration.specs.tag_marts import askable_sql, coverage_sql, history_sql, value_counts_sql
from orchestration.specs.tags import FOLDER, TagFamilySpec, read_tags
from orchestration.specs.user_tags_sql import user_tags_sql


def _check(project: Project) -> list[Problem]:
    return read_tags(project)[1]


def _compile(project: Project) -> dict[str, str]:
    tags = list(read_tags(project)[0].values())
    active = [tag for tag in tags if tag.is_active]
    return {
        "dbt_project/models/intermediate/tags/int_tags__judged.sql": judged_sql(active, project.segments),
        "dbt_project/models/intermediate/tags/int_tags__user_days.sql": user_days_sql(),
        "dbt_project/models/intermediate/tags/int_tags__versions.sql": versions_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__day_counts.sql": day_counts_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__kept.sql": kept_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__evaluated.sql": evaluated_sql(
            active, project.columns
        ),
        "dbt_project/models/marts/tags/user_tags.sql": user_tags_sql(active),
        "dbt_project/models/marts/tags/user_tag_history.sql": history_sql(active),
        "dbt_project/models/marts/tags/tag_coverage.sql": coverage_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__value_counts.sql": value_counts_sql(active),
        "dbt_project/models/intermediate/tags/int_tags__askable.sql": askable_sql(active),
        "seeds/catalog/catalog_tag_definitions.csv": definitions_csv(tags),
        "seeds/catalog/catalog_tag_values.csv": values_csv(tags),
        "seeds/catalog/catalog_tag_sources.csv": sources_csv(active),
    }


KIND: Kind[TagFamilySpec] = Kind(FOLDER, TagFamilySpec, lambda spec: spec.family, _check, _compile)
