"""Declared audiences as the files they are exported to."""

from __future__ import annotations

import difflib
from pathlib import Path

from orchestration.errors import UsageError
from orchestration.home import DBT_PROJECT_DIR
from orchestration.publishing.audience_files import AudienceExport, ExportColumn
from orchestration.specs.audiences import Audience, read_audiences
from orchestration.specs.catalog import KEY
from orchestration.specs.documents import SpecError
from orchestration.specs.loader import load_project
from orchestration.specs.tags import Tag, read_tags


def declared_exports(dbt_dir: Path = DBT_PROJECT_DIR) -> dict[str, AudienceExport]:
    """Every declared audience, by name. Raises SpecError with every problem in the specs."""
    project = load_project(dbt_dir)
    tags, tag_problems = read_tags(project)
    audiences, problems = read_audiences(project, tags)
    if tag_problems or problems:
        raise SpecError([*tag_problems, *problems])
    return {name: audience_export(audience, tags) for name, audience in audiences.items()}


def declared_export(audience: str) -> AudienceExport:
    """One declared audience. Raises UsageError with the nearest name."""
    exports = declared_exports()
    if audience not in exports:
        close = difflib.get_close_matches(audience, exports, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Declared are {', '.join(exports)}."
        raise UsageError(f"There is no audience {audience!r}. {hint}")
    return exports[audience]


def audience_export(audience: Audience, tags: dict[str, Tag]) -> AudienceExport:
    """The files of one audience."""
    spec = audience.spec
    columns = [ExportColumn(KEY)]
    columns += [ExportColumn(name) for name in spec.export.columns]
    columns += [ExportColumn(tag, "tag", tags[tag].spec.title.zh) for tag in spec.export.tags]
    columns += [ExportColumn(kind, "identifier") for kind in spec.export.identifiers]
    return AudienceExport(
        name=audience.name,
        title=f"{spec.title.zh} {spec.title.en}",
        columns=tuple(columns),
        formats=spec.export.formats,
        definition=audience.definition,
        definition_hash=audience.definition_hash,
    )
