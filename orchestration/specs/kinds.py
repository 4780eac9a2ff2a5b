"""What a kind of spec is, and the project that holds all specs.

A kind is plugged in by making one `Kind` and listing it in `orchestration.specs.loader.KINDS`. It says which
folder it reads, which model its files have, what is wrong across files (`check`), and which files it
generates (`compile`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from orchestration.specs.catalog import IDENTIFIER_TYPES, Column, Segment
from orchestration.specs.documents import Document, Problem, SpecModel

Spec = TypeVar("Spec", bound=SpecModel)
Spec_co = TypeVar("Spec_co", bound=SpecModel, covariant=True)


@dataclass(frozen=True)
class Loaded(Generic[Spec_co]):
    """A spec with the document it came from."""

    spec: Spec_co
    document: Document


@dataclass(frozen=True)
class Kind(Generic[Spec]):
    """One kind of spec.

    `name_of` gives the spec's name, which must be its file's name; `check` finds what is wrong across specs
    (every spec is valid by itself then); `compile` gives generated files as path from the project's root
    (`dbt_project/models/…`, `seeds/catalog/…`) → text, and runs only on a project without problems.
    """

    folder: str  # below dbt_project/specs, and the name in messages
    model: type[Spec]
    name_of: Callable[[Spec], str]
    check: Callable[[Project], Sequence[Problem]]
    compile: Callable[[Project], Mapping[str, str]]


@dataclass(frozen=True)
class Project:
    """All specs of a dbt project, valid by themselves; `columns` are those of the user wide table, `identifiers` the types
    of identifiers that people can have, `activities` the names of what people do, `segments` the segmentations."""

    dbt_dir: Path
    columns: Mapping[str, Column]
    loaded: Mapping[str, Sequence[Loaded[Any]]] = field(default_factory=dict)

    identifiers: Sequence[str] = IDENTIFIER_TYPES
    activities: Sequence[str] = ()
    segments: Mapping[str, Segment] = field(default_factory=dict)

    def of(self, kind: Kind[Spec]) -> Sequence[Loaded[Spec]]:
        """Loaded specs of a kind, in the order of their file names."""
        return self.below(kind.folder, kind.model)

    def below(self, folder: str, model: type[Spec]) -> Sequence[Loaded[Spec]]:
        """Loaded specs of the kind that reads `folder` into `model`, in the order of their file names."""
        return cast("Sequence[Loaded[Spec]]", self.loaded.get(folder, ()))
