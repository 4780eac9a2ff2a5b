"""What each declared audience exports: from its spec to the columns and formats of its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestration.errors import UsageError
from orchestration.home import DBT_PROJECT_DIR
from orchestration.publishing.audience_files import AudienceExport, ExportColumn
from orchestration.publishing.audience_guard import SizeGuard
from orchestration.publishing.labels import COLUMN_LABELS, IDENTIFIER_LABELS, VALUE_LABELS
from orchestration.specs.audiences import Audience
from orchestration.specs.catalog import ValueType
from orchestration.specs.documents import nearest
from orchestration.specs.loader import load_audiences, load_project, load_tags
from orchestration.specs.tags import Tag


def declared_exports(dbt_dir: Path = DBT_PROJECT_DIR) -> list[AudienceExport]:
    """The exports of all declared audiences, by name. Raises SpecError."""
    project = load_project(dbt_dir)
    tags = load_tags(project)
    audiences = load_audiences(project)
    return [audience_export(audiences[name], tags) for name in sorted(audiences)]


def declared_export(name: str, dbt_dir: Path = DBT_PROJECT_DIR) -> AudienceExport:
    """The export of one declared audience. Raises SpecError, and UsageError when there is none of that name."""
    exports = {export.name: export for export in declared_exports(dbt_dir)}
    if name not in exports:
        raise UsageError(f"There is no audience {name!r}; {nearest(name, list(exports))}")
    return exports[name]


def audience_export(audience: Audience, tags: Mapping[str, Tag]) -> AudienceExport:
    """The export of one audience: user_id, identifiers, columns, tags, in this order."""
    spec = audience.spec
    columns = [ExportColumn("user_id", label=COLUMN_LABELS["user_id"])]
    columns += [
        ExportColumn(id_type, "identifier", IDENTIFIER_LABELS.get(id_type, id_type))
        for id_type in spec.export.identifiers
    ]
    columns += [
        ExportColumn(
            column,
            label=COLUMN_LABELS.get(column, column),
            values=tuple((code, zh) for code, (zh, _) in VALUE_LABELS.get(column, {}).items()),
        )
        for column in spec.export.columns
    ]
    columns += [
        ExportColumn(code, "tag", tags[code].spec.title.zh, _value_names(tags[code]))
        for code in spec.export.tags
    ]
    return AudienceExport(
        name=audience.name,
        title=f"{spec.title.zh} · {spec.title.en}",
        columns=tuple(columns),
        formats=spec.export.formats,
        definition=audience.definition,
        definition_hash=audience.definition_hash,
        guard=SizeGuard(**spec.guard.model_dump()) if spec.guard else None,
    )


def _value_names(tag: Tag) -> tuple[tuple[str, str], ...]:
    """Codes of a tag's values with their Chinese names; the header of a yes/no tag is its name."""
    if tag.type is ValueType.BOOLEAN:
        return (("true", "是"),)
    return tuple((entry.value, entry.title.zh) for entry in tag.spec.cases or tag.spec.values or ())
