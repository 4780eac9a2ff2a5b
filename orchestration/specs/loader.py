"""All specs of a project, read and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.home import DBT_PROJECT_DIR
from orchestration.specs import activations, audience_sql, audiences, funnel_kind, tag_sql, tags
from orchestration.specs.activities import activity_problems, read_activities
from orchestration.specs.audiences import Audience
from orchestration.specs.catalog import Column, read_columns, read_identifier_types, read_segments
from orchestration.specs.contact_rules import contact_problems
from orchestration.specs.documents import Problem, SpecError, read_document, shown, spec_files, validate
from orchestration.specs.kinds import Kind, Loaded, Project
from orchestration.specs.tags import Tag

# Every kind of spec, in the order in which they are checked and compiled. Plug a new kind in here.
KINDS: tuple[Kind[Any], ...] = (tag_sql.KIND, audience_sql.KIND, funnel_kind.KIND, activations.KIND)


def load_project(dbt_dir: Path = DBT_PROJECT_DIR, *, columns: Mapping[str, Column] | None = None) -> Project:
    """Read and check every spec below `<dbt_dir>/specs`.

    `columns` replaces the wide table's contract (tests). Raises SpecError with all problems found.
    """
    project, problems = read_project(dbt_dir, columns)
    for kind in KINDS if not problems else ():
        problems += kind.check(project)
    problems += contact_problems(dbt_dir.parent / "seeds")
    problems += activity_problems(dbt_dir.parent / "seeds", project.activities)
    if problems:
        raise SpecError(problems)
    return project


def read_project(
    dbt_dir: Path = DBT_PROJECT_DIR, columns: Mapping[str, Column] | None = None
) -> tuple[Project, list[Problem]]:
    """The specs that are right by themselves, and what is wrong with the others; nothing is checked across specs."""
    if columns is None:
        columns = read_columns(dbt_dir / "models")
    loaded: dict[str, list[Loaded[Any]]] = {}
    problems: list[Problem] = []
    for kind in KINDS:
        entries = loaded.setdefault(kind.folder, [])
        seen: dict[str, str] = {}
        for file in spec_files(dbt_dir / "specs" / kind.folder):
            try:
                entry = load_file(kind, file, dbt_dir)
            except SpecError as error:
                problems += error.problems
                continue
            name = kind.name_of(entry.spec)
            line = entry.document.line((next(iter(entry.document.data)),))
            if name in seen:
                text = f"{shown(name)} is already declared in {seen[name]}."
                problems.append(Problem(entry.document.file, line, text))
                continue
            seen[name] = f"{entry.document.file}:{line}"
            entries.append(entry)
    seeds = dbt_dir.parent / "seeds"
    project = Project(
        dbt_dir,
        columns,
        loaded,
        read_identifier_types(seeds),
        read_activities(seeds),
        read_segments(dbt_dir / "models", columns),
    )
    return project, problems


def load_file(kind: Kind[Any], file: Path, dbt_dir: Path = DBT_PROJECT_DIR) -> Loaded[Any]:
    """Read one spec file and check it by itself. Raises SpecError."""
    name = str(file.relative_to(dbt_dir.parent)) if file.is_relative_to(dbt_dir.parent) else str(file)
    document = read_document(file, name)
    spec = validate(document, kind.model)
    declared = kind.name_of(spec)
    if declared != file.stem:
        raise SpecError(
            [
                Problem(
                    name,
                    document.line((next(iter(document.data)),)),
                    f"declares {shown(declared)}; name the file {declared}.yml, so that it is found.",
                )
            ]
        )
    return Loaded(spec, document)


def load_tags(project: Project) -> dict[str, Tag]:
    """The tags of a checked project, by code."""
    return tags.read_tags(project)[0]


def load_audiences(project: Project) -> dict[str, Audience]:
    """The audiences of a checked project, by name; those that others name come first."""
    return audiences.read_audiences(project, load_tags(project))[0]


def specs_fingerprint(dbt_dir: Path = DBT_PROJECT_DIR) -> str:
    """SHA-256 over every spec file: its place and its bytes."""
    digest = hashlib.sha256()
    for kind in KINDS:
        for file in spec_files(dbt_dir / "specs" / kind.folder):
            content = file.read_bytes()
            digest.update(f"{kind.folder}/{file.name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()
