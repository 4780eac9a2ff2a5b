"""The wide table as of a past day: what was known then, and with late rows included what is known now."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import Settings
from tests.warehouse_home import Row, WarehouseHome

DAY, LATE, LATER = "2026-03-10", "2026-03-13", "2026-03-15"
EXCLUDE = Settings()
INCLUDE = Settings.model_validate({"history": {"late_rows": "include"}})
# Compares a user with the others, so Anna's late order moves Ben too.
RELATIVE = {
    *("rfm_cell", "r_score", "f_score", "m_score", "score"),
    *("value_layer", "revenue_layer", "engagement_layer", "behaviour_cluster"),
}
ANNA, BEN = ("13800000001", "13800000002")


def order(number: int, day: str, phone: str, amount: str) -> Row:
    at = f"{day} 04:00:00"
    return {"order_id": str(number), "ordered_at": at, "amount": amount, "id_type": "phone", "id": phone}


def view(day: str, phone: str) -> Row:
    return {"id_type": "phone", "id": phone, "event_name": "view", "occurred_at": f"{day} 05:00:00"}


def arrive(home: WarehouseHome, late_on: str) -> None:
    """Two people. Of Anna's rows dated before DAY some arrive on `late_on`; Ben's later rows arrive on their day."""
    contact = {"contact_id": "C1", "staff_id": "S1", "added_at": "2026-03-01 01:00:00"}
    home.arrive(
        "members", [{"member_id": "M1", "registered_at": "2026-03-01 00:00:00", "phone": ANNA}], "2026-03-01"
    )
    home.arrive("contacts", [contact], "2026-03-01")
    link = {"id_type_a": "contact_id", "id_a": "C1", "id_type_b": "phone", "id_b": ANNA}
    home.arrive(
        "identity_links", [{**link, "linked_at": "2026-03-01 02:00:00", "source": "form"}], "2026-03-01"
    )
    home.arrive(
        "orders", [order(1, "2026-03-02", ANNA, "50"), order(2, "2026-03-03", BEN, "70")], "2026-03-03"
    )
    home.arrive("events", [view("2026-03-04", BEN)], "2026-03-04")
    home.arrive("products", [{"product_id": "P1", "name": "Cream", "category_l1": "skin"}], "2026-03-01")

    home.arrive("orders", [order(3, "2026-03-09", ANNA, "30"), order(4, "2026-03-12", ANNA, "999")], late_on)
    line = {"order_id": "3", "line_number": 1, "product_id": "P1", "quantity": 1, "amount": "30"}
    home.arrive("order_lines", [line], late_on)
    home.arrive("contacts", [{**contact, "deleted_at": "2026-03-08 01:00:00"}], late_on)
    home.arrive("events", [view("2026-03-10", ANNA), view("2026-03-11", ANNA)], late_on)

    home.arrive("orders", [order(5, "2026-03-12", BEN, "20")], "2026-03-12")
    home.arrive("events", [view("2026-03-14", BEN)], "2026-03-14")


def people(home: WarehouseHome, day: str) -> dict[str, dict[str, Any]]:
    """Rows of a day by what each person is called here."""
    names = [name for (name,) in home.rows("select column_name from (describe marts.user_wide_daily)")]
    rows = home.rows(f"select * from marts.user_wide_daily where as_of_date = date '{day}'")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    assert len(found) == 2
    return {"Anna" if row["is_member"] else "Ben": row for row in found}


def build(home: WarehouseHome, day: str, settings: Settings) -> dict[str, dict[str, Any]]:
    home.build(day, "+user_wide_daily", settings=settings, tests=False)
    return people(home, day)


@pytest.mark.long
def test_a_past_day_is_what_was_known_then_or_what_is_known_now(tmp_path: Path) -> None:
    home = WarehouseHome(tmp_path / "home")
    home.home.secret_key()
    arrive(home, LATE)
    on_the_day = build(home, DAY, EXCLUDE)
    assert on_the_day["Anna"]["orders_count"] == 1
    assert on_the_day["Anna"]["last_active_date"].isoformat() == "2026-03-02"
    assert on_the_day["Anna"]["is_contact"] is True

    later = build(home, LATER, EXCLUDE)
    assert later["Anna"]["orders_count"] == 3
    assert later["Ben"]["orders_count"] == 2
    assert people(home, DAY) == on_the_day

    # Filled in after the late rows have arrived: they still do not count.
    assert build(home, DAY, EXCLUDE) == on_the_day
    assert people(home, LATER) == later

    # Included: the day is what it would have been had the rows come in time, and nothing of later days counts.
    in_time = WarehouseHome(tmp_path / "in_time")
    shutil.copyfile(home.home.path / "secret.key", in_time.home.path / "secret.key")
    arrive(in_time, DAY)
    included = build(home, DAY, INCLUDE)
    assert included == build(in_time, DAY, EXCLUDE)
    for name in included["Ben"].keys() - RELATIVE:
        assert included["Ben"][name] == on_the_day["Ben"][name], name
    anna = included["Anna"]
    assert anna["orders_count"] == 2
    assert anna["net_amount"] == 80
    assert anna["top_category"] == "skin"
    assert anna["is_contact"] is False
    assert anna["views_count_7d"] == 1
