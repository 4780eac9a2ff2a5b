"""Which marts the project declares, read from dbt's manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from orchestration.errors import PublishError
from orchestration.publishing.files import read_json

MARTS_SCHEMA = "marts"
PRIVATE_SCHEMA = "private"


@dataclass(frozen=True)
class DeclaredMarts:
    """Names of the models that must be in the warehouse before it is published."""

    marts: frozenset[str]
    private: frozenset[str]
    by_date: dict[str, str] = field(default_factory=dict)


def declared_marts(manifest: Path) -> DeclaredMarts:
    """Marts, private tables and by-date marts (name → date column, from `meta: {by_date: …}`).

    Raises PublishError when the manifest is missing or is none.
    """
    content = read_json(manifest)
    if content is None or not isinstance(content.get("nodes"), dict):
        raise PublishError(f"{manifest} is not dbt's manifest: build the models before publishing.")
    names: dict[str, set[str]] = {MARTS_SCHEMA: set(), PRIVATE_SCHEMA: set()}
    by_date: dict[str, str] = {}
    for node in content["nodes"].values():
        config = node.get("config") or {}
        if (
            node.get("resource_type") != "model"
            or node.get("schema") not in names
            or config.get("materialized") == "ephemeral"
            or config.get("enabled") is False
        ):
            continue
        mart = str(node.get("alias") or node["name"])
        names[node["schema"]].add(mart)
        column = (config.get("meta") or {}).get("by_date") or (node.get("meta") or {}).get("by_date")
        if column and node["schema"] == MARTS_SCHEMA:
            by_date[mart] = str(column)
    return DeclaredMarts(frozenset(names[MARTS_SCHEMA]), frozenset(names[PRIVATE_SCHEMA]), by_date)
