"""The JSON Schemas with which editors complete and check specs: they take what is shipped and mark what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from orchestration.home import DBT_PROJECT_DIR
from orchestration.specs.documents import read_document
from orchestration.specs.loader import KINDS, load_project, load_tags

SPECS = DBT_PROJECT_DIR / "specs"
FILES = sorted(SPECS.glob("*/*.yml"))


def plain(value: Any) -> Any:
    """A document's value as JSON has it."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return float(value) if isinstance(value, Decimal) else value


def validator(folder: str) -> Any:
    schema = json.loads((SPECS / "schemas" / f"{folder}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("folder", [kind.folder for kind in KINDS])
def test_every_shipped_spec_is_valid_and_names_its_schema(folder: str) -> None:
    check = validator(folder)
    files = [file for file in FILES if file.parent.name == folder]
    assert files
    for file in files:
        assert (
            file.read_text().splitlines()[0]
            == f"# yaml-language-server: $schema=../schemas/{folder}.schema.json"
        )
        errors = [error.message for error in check.iter_errors(plain(read_document(file, file.name).data))]
        assert errors == [], file


def spec(name: str) -> dict[str, Any]:
    file = next(file for file in FILES if file.stem == name)
    read: dict[str, Any] = plain(read_document(file, file.name).data)
    return read


def who(condition: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda audience: audience.update(who=condition)


MISTAKES: dict[str, tuple[str, str, Callable[[dict[str, Any]], Any]]] = {
    "missing label": ("audiences", "second_order", lambda a: a["title"].pop("en")),
    "unknown field": ("audiences", "second_order", lambda a: a.update(ownr="crm")),
    "unknown column": ("audiences", "second_order", who({"column": "order_days", "gte": 1})),
    "operator that does not fit": ("audiences", "second_order", who({"column": "city", "gte": "a"})),
    "text for a number": ("audiences", "second_order", who({"column": "orders_count", "gte": "2"})),
    "value that never occurs": ("audiences", "second_order", who({"column": "rfm_cell", "eq": "best"})),
    "two operators": ("audiences", "second_order", who({"column": "orders_count", "gte": 1, "lt": 3})),
    "no operator": ("audiences", "second_order", who({"column": "orders_count"})),
    "unknown tag": ("audiences", "second_order", who({"tag": "unsubscribd"})),
    "unknown activity": ("audiences", "second_order", who({"did": "cartt"})),
    "unknown column of activities": (
        "audiences",
        "second_order",
        who({"did": "cart", "where": {"column": "colour", "eq": "red"}}),
    ),
    "unknown segment": ("audiences", "second_order", who({"segment": "rmf", "eq": "important_value"})),
    "unknown step": ("audiences", "second_order", who({"funnel": "shop_view_cart_buy", "at_step": "pay"})),
    "sql": ("audiences", "second_order", who({"sql": "1 = 1"})),
    "unknown exported tag": ("audiences", "second_order", lambda a: a["export"]["tags"].append("nothing")),
    "condition of a suppression": ("audiences", "second_order", lambda a: a["suppress"].update(x={"tag": 1})),
    "tag in a tag": ("tags", "taste", lambda t: t["tags"][-1].update(when={"tag": "unsubscribed"})),
    "date column": ("tags", "taste", lambda t: t["tags"][0].update(confirmed_by="orders_count")),
    "category": ("tags", "taste", lambda t: t.update(category="tase")),
    "value held constant": ("funnels", "shop_repurchase", lambda f: f.update(hold_constant="amount")),
    "condition of a step": (
        "funnels",
        "shop_repurchase",
        lambda f: f["steps"][0].update(where={"column": "orders_count", "gte": 1}),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_marked(mistake: str) -> None:
    folder, name, change = MISTAKES[mistake]
    wrong = spec(name)
    check = validator(folder)
    assert check.is_valid(wrong)
    change(wrong)
    assert not check.is_valid(wrong)


def test_every_name_can_be_completed() -> None:
    project = load_project()
    text = (SPECS / "schemas/audiences.schema.json").read_text()
    names = [*project.columns, *project.activities, *project.segments, *load_tags(project)]
    names += [entry.spec.audience for entry in project.loaded["audiences"]]
    names += [step.name for entry in project.loaded["funnels"] for step in entry.spec.steps]
    assert [name for name in names if name != "user_id" and f'"{name}"' not in text] == []
