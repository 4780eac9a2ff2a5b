"""Conditions on what people did, built by the real project from raw rows, at the bounds of their days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestration.specs.compiler import compile_specs
from orchestration.specs.event_sql import MODEL
from orchestration.specs.loader import load_audiences, load_project
from orchestration.specs.predicates import counted_column, counted_in
from tests.warehouse_home import WarehouseHome

DAY = "2026-06-30"


def event(person: str, name: str, moment: str, **more: Any) -> dict[str, Any]:
    row = {"id_type": "member_id", "id": person, "event_name": name, "occurred_at": moment}
    return row | {"event_id": f"{person} {name} {moment}"} | more


def order(person: str, moment: str) -> dict[str, Any]:
    row = {"order_id": f"{person} {moment}", "ordered_at": moment, "paid_at": moment, "amount": 10}
    return row | {"status": "paid", "id_type": "member_id", "id": person}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> WarehouseHome:
    warehouse = WarehouseHome(tmp_path_factory.mktemp("rules") / "home")
    # In Shanghai the 24th of June begins at 16:00 UTC on the 23rd.
    events = [
        event("first moment", "add_to_cart", "2026-06-23 16:00:00", product_id="P1"),
        event("a moment too early", "add_to_cart", "2026-06-23 15:59:59"),
        event("paid at once", "add_to_cart", "2026-06-29 10:00:00"),
        event("paid before", "add_to_cart", "2026-06-29 10:00:00"),
        event("never paid", "add_to_cart", "2026-06-29 10:00:00"),
        event("never paid", "product_view", "2026-06-29 10:00:00", product_id="P1"),
    ]
    orders = [
        order("paid at once", "2026-06-29 10:00:00"),
        order("paid before", "2026-06-29 09:59:59"),
    ]
    warehouse.arrive("events", events, on=DAY)
    warehouse.arrive("orders", orders, on=DAY)
    warehouse.arrive("products", [{"product_id": "P1", "category_l1": "skincare"}], on=DAY)
    warehouse.build(DAY, f"+{MODEL}", "+user_activities")
    return warehouse


def test_a_cart_counts_from_its_first_moment_until_something_is_paid(warehouse: WarehouseHome) -> None:
    (question,) = counted_in(load_audiences(load_project())["cart_left"].who)
    found = warehouse.rows(f"""
        select distinct lookup.id
        from intermediate.{MODEL} as answers
        join intermediate.int_identity__lookup as lookup using (user_id)
        where answers.{counted_column(question)}
        order by 1
    """)
    assert [person for (person,) in found] == ["first moment", "never paid", "paid before"]


def test_the_published_activities_are_those_that_rules_count(warehouse: WarehouseHome) -> None:
    rows = warehouse.rows(
        "select activity, count(*), count(category_l1) from marts.user_activities group by 1 order by 1"
    )
    counted = dict(warehouse.rows("select activity, count(*) from intermediate.int_activity group by 1"))
    assert {activity: count for activity, count, _ in rows} == counted
    assert {activity: known for activity, _, known in rows if known} == {"cart": 1, "view": 1}


def test_the_activities_are_read_once(tmp_path: Path) -> None:
    (text,) = [text for path, text in compile_specs(load_project()).items() if path.endswith(f"/{MODEL}.sql")]
    assert text.count("int_activity") == 1
