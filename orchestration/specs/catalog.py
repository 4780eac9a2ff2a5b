"""Which columns predicates may name, with their types: the contract of the user wide table."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from orchestration.errors import UsageError

WIDE_TABLE = "user_wide"
KEY = "user_id"
# Types that every project knows; a brand declares more in seeds/rules/identifier_types.csv.
IDENTIFIER_TYPES = (
    *("unionid", "openid", "contact_id", "member_id", "phone", "email", "device_id", "buyer_id", "lead_id"),
)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_REF = re.compile(r"ref\('([a-z0-9_]+)'\)")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*\Z")


class ValueType(StrEnum):
    """How values compare."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    BOOLEAN = "boolean"
    MOMENT = "moment"  # a timestamp; only known or unknown, because days are what rules speak of


_TYPES = {
    "varchar": ValueType.TEXT,
    "text": ValueType.TEXT,
    "string": ValueType.TEXT,
    "boolean": ValueType.BOOLEAN,
    "date": ValueType.DATE,
    "timestamp": ValueType.MOMENT,
    "tinyint": ValueType.NUMBER,
    "smallint": ValueType.NUMBER,
    "integer": ValueType.NUMBER,
    "int": ValueType.NUMBER,
    "bigint": ValueType.NUMBER,
    "hugeint": ValueType.NUMBER,
    "float": ValueType.NUMBER,
    "double": ValueType.NUMBER,
    "decimal": ValueType.NUMBER,
}


@dataclass(frozen=True)
class Column:
    """A column of the user wide table. `values` are all the values it can take, when the contract says so."""

    name: str
    type: ValueType
    sql_type: str
    description: str
    values: tuple[str, ...] | None = None


def read_columns(models_dir: Path, table: str = WIDE_TABLE) -> dict[str, Column]:
    """Columns of a model from its dbt contract, in order.

    Raises UsageError when no YAML file below `models_dir` describes the model with data types.
    """
    for file in sorted(models_dir.rglob("*.yml")):
        text = file.read_text(encoding="utf-8")
        if f"name: {table}\n" not in text:
            continue
        for model in (yaml.load(text, Loader=_Loader) or {}).get("models") or ():  # noqa: S506 - the safe loader
            if model.get("name") == table:
                return columns_of(model, str(file), _seeds_of(models_dir))
    raise UsageError(
        f"No YAML file below {models_dir} describes the model {table}, whose columns rules are checked against."
    )


@dataclass(frozen=True)
class Segment:
    """A segmentation: a table with at most one row per user, and the column of the user's value in it."""

    name: str
    table: str
    column: Column


def read_segments(models_dir: Path, wide: Mapping[str, Column]) -> dict[str, Segment]:
    """Segmentations by name, as the models' YAML files declare them: `config: {meta: {segments: {rfm: cell}}}`.

    A new segmentation is one such line at its mart. The values it can take are those that its column accepts, else
    those of the column of the same name in the wide table, `wide`. Raises UsageError for a name declared twice, a column that the mart
    does not have, or a mart whose user_id is not tested to be unique.
    """
    found: dict[str, Segment] = {}
    for file in sorted(models_dir.rglob("*.yml")):
        text = file.read_text(encoding="utf-8")
        if "segments:" not in text:
            continue
        for model in (yaml.load(text, Loader=_Loader) or {}).get("models") or ():  # noqa: S506 - the safe loader
            declared = ((model.get("config") or {}).get("meta") or {}).get("segments") or {}
            columns = columns_of(model, str(file), _seeds_of(models_dir)) if declared else {}
            for name, column in declared.items():
                _check_segment(name, model, columns, str(column), f"{file}: segment {name}")
                if name in found:
                    raise UsageError(f"{file}: segment {name} is declared by {found[name].table} already.")
                own = columns[str(column)]
                if own.values is None and str(column) in wide:
                    own = replace(own, values=wide[str(column)].values)
                found[name] = Segment(name, str(model["name"]), own)
    return found


def _check_segment(
    name: str, model: Mapping[str, Any], columns: Mapping[str, Column], column: str, where: str
) -> None:
    if not _IDENTIFIER.match(name):
        raise UsageError(f"{where} is no name; use lower-case letters, digits and underscores.")
    if column not in columns:
        raise UsageError(f"{where} names column {column}, which {model['name']} does not have.")
    keys = [entry for entry in model.get("columns") or () if entry.get("name") == KEY]
    if not any("unique" in (entry.get("data_tests") or ()) for entry in keys):
        raise UsageError(f"{where} needs one row per user: test {KEY} of {model['name']} to be unique.")


def _seeds_of(models_dir: Path) -> Path:
    return models_dir.parent.parent / "seeds"


def columns_of(model: Mapping[str, Any], where: str, seeds_dir: Path) -> dict[str, Column]:
    """Columns of one model's entry in a dbt YAML file, with the values that its tests allow: those listed by
    accepted_values, or those in the seed that relationships names. Raises UsageError for a type that is not known."""
    columns = {}
    for entry in model.get("columns") or ():
        name, sql_type = str(entry["name"]), str(entry.get("data_type", "")).lower()
        kind = _TYPES.get(sql_type.split("(")[0].strip())
        if kind is None or not _IDENTIFIER.match(name):
            raise UsageError(
                f"{where}: column {name} has no data_type that rules understand ({sql_type or 'none given'})."
            )
        columns[name] = Column(
            name, kind, sql_type, str(entry.get("description", "")).strip(), _accepted(entry, seeds_dir)
        )
    return columns


def _accepted(entry: Mapping[str, Any], seeds_dir: Path) -> tuple[str, ...] | None:
    for test in entry.get("data_tests") or entry.get("tests") or ():
        if isinstance(test, dict) and "relationships" in test:
            body = test["relationships"].get("arguments") or {}
            seed = _REF.fullmatch(str(body.get("to", "")))
            if seed is None:
                continue
            for file in sorted(seeds_dir.rglob(f"{seed[1]}.csv")):
                with file.open(encoding="utf-8", newline="") as lines:
                    return tuple(str(row[body["field"]]) for row in csv.DictReader(lines))
        if isinstance(test, dict) and "accepted_values" in test:
            body = test["accepted_values"]
            values = body.get("values") or (body.get("arguments") or {}).get("values")
            if values:
                return tuple(str(value) for value in values)
    return None


def read_identifier_types(seeds_dir: Path) -> tuple[str, ...]:
    """Types of identifiers: the known ones, and those in rules/identifier_types.csv below `seeds_dir`."""
    try:
        with (seeds_dir / "rules" / "identifier_types.csv").open(encoding="utf-8", newline="") as lines:
            declared = [row["id_type"] for row in csv.DictReader(lines) if row.get("id_type")]
    except FileNotFoundError:
        declared = []
    return tuple(dict.fromkeys([*IDENTIFIER_TYPES, *(name for name in declared if _IDENTIFIER.match(name))]))
