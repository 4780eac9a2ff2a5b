"""Users, orders, leads and activities, built by the real dbt project from raw files that arrive day by day."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse_home import Row, WarehouseHome

CORE = ("+int_activity", "+int_identity__refused_links", "+leads", "+user_identities", "+user_identifiers")
Identifier = tuple[str, str]

PHONE, DEVICE, UNIONID, MEMBER = (
    ("phone", "13800000000"),
    ("device_id", "d-1"),
    ("unionid", "oU1"),
    ("member_id", "m1"),
)


def member(member_id: str, registered: str, **more: str) -> Row:
    return {"member_id": member_id, "registered_at": f"{registered} 02:00:00", **more}


def link(a: Identifier, b: Identifier, at: str) -> Row:
    return {
        "id_type_a": a[0],
        "id_a": a[1],
        "id_type_b": b[0],
        "id_b": b[1],
        "linked_at": at,
        "source": "login",
    }


def order(order_id: str, at: str, amount: str, buyer: Identifier | None = None, **more: str) -> Row:
    id_type, identifier = buyer or (None, None)
    return {
        "order_id": order_id,
        "ordered_at": at,
        "amount": amount,
        "id_type": id_type,
        "id": identifier,
        **more,
    }


def event(at: str, name: str, who: Identifier, **more: str) -> Row:
    return {"id_type": who[0], "id": who[1], "event_name": name, "occurred_at": at, **more}


def arrive_one_person(home: WarehouseHome) -> None:
    """A device and a phone, tied by a member on the third day; the member's row comes twice, an old event late."""
    home.arrive("events", [event("2026-01-05 03:00:00", "view", DEVICE)], "2026-01-05")
    lead = {
        "lead_id": "l0",
        "created_at": "2026-01-05 04:00:00",
        "id_type": "phone",
        "id": "+86 138 0000 0000",
    }
    home.arrive("leads", [lead], "2026-01-05")
    joined = member("m1", "2026-01-06", phone="138-0000-0000", unionid="oU1")
    home.arrive("members", [joined], "2026-01-06")
    home.arrive("members", [{**joined, "channel": "app"}], "2026-01-07")
    home.arrive("identity_links", [link(MEMBER, DEVICE, "2026-01-07 01:00:00")], "2026-01-07")
    home.arrive("events", [event("2026-01-01 00:00:00", "view", UNIONID)], "2026-01-07")


def arrive_shared_and_junk(home: WarehouseHome) -> None:
    """A phone of one member and three apps, one of a family, one of a store, placeholders, a phone and itself."""
    single = member("p0", "2026-01-05", phone="13900000001")
    apps = [link(("phone", "13900000001"), ("openid", f"p{n}"), "2026-01-05 01:00:00") for n in (1, 2, 3)]
    family = [member(f"f{n}", "2026-01-05", phone="13900000004") for n in range(2)]
    store = [member(f"s{n}", "2026-01-05", phone="13900000002", email=f"s{n}@shop.example") for n in range(4)]
    junk = [member(f"j{n}", "2026-01-05", phone="00000000000", email="Test@Test.com") for n in range(2)]
    home.arrive("members", [single, *family, *store, *junk, member("0", "2026-01-05")], "2026-01-05")
    itself = link(("phone", "13900000003"), ("phone", "+86 139 0000 0003"), "2026-01-05 01:00:00")
    home.arrive("identity_links", [*apps, itself], "2026-01-05")


def arrive_facts(home: WarehouseHome) -> None:
    """One fact of each kind, on the first day and the next, all known from the first day on but the orders."""
    at, later, far = "2026-01-05 03:00:00", "2026-01-06 03:00:00", "2026-02-01 00:00:00"
    typed = {"id_type": "buyer_id", "id": "fact-b1"}
    buyer = ("buyer_id", "fact-b1")
    contact = {
        "contact_id": "fact-x1",
        "staff_id": "s1",
        "added_at": at,
        "deleted_at": later,
        "blocked_at": far,
    }
    lead = {
        "lead_id": "fact-l1",
        "created_at": at,
        "won_at": later,
        "lost_at": far,
        "origin": "search",
        "amount": 5,
    }
    referral = {"inviter_id_type": "buyer_id", "inviter_id": "fact-b1", "invitee_id_type": "buyer_id"}
    touch = {"touch_id": "t1", **typed, "channel": "sms", "occurred_at": at}
    consent = {**typed, "purpose": "marketing", "channel": "sms"}
    survey = {"response_id": "q", **typed, "answered_at": at, "answer": "a"}
    line = {"line_number": 1, "product_id": "p1", "quantity": 1}
    on_first_day: dict[str, list[Row]] = {
        "landing_codes": [{"state_code": "qr1", "channel": "store", "campaign_id": "c1"}],
        "contacts": [{**contact, "state_code": "qr1"}],
        "members": [member("fact-m1", "2026-01-05", channel="app")],
        "group_memberships": [{"group_id": "g1", **typed, "joined_at": at, "left_at": later}],
        "products": [{"product_id": "p1", "category_l1": "skin", "brand": "B"}],
        "events": [event(at, "ADD_TO_CART", buyer), event(at, "ADD_TO_CART", buyer)],
        "touches": [{**touch, "status": "sent"}, {**touch, "status": "opened"}],
        "coupons": [{"coupon_id": "k1", **typed, "issued_at": at, "used_at": later}],
        "leads": [lead],
        "referrals": [{**referral, "invitee_id": "fact-b2", "invited_at": at, "joined_at": later}],
        "surveys": [{**survey, "question": "1"}, {**survey, "question": "2"}],
        "manual_tags": [{**typed, "tag": "vip", "set_at": at, "cleared_at": later}],
        "experiment_assignments": [{"experiment": "e", **typed, "arm": "a", "assigned_at": at}],
        "consents": [
            {**consent, "status": "granted", "changed_at": at},
            {**consent, "status": "withdrawn", "changed_at": later},
        ],
        "erasure_requests": [{"request_id": "x", **typed, "requested_at": later}],
    }
    for table, rows in on_first_day.items():
        home.arrive(table, rows, "2026-01-05")
    orders = [
        order("o1", at, "30", buyer, paid_at=later, channel="app"),
        order("o2", at, "10.5", status="paid"),
        order("o3", at, "7", buyer, status="cancelled"),
    ]
    home.arrive("orders", orders, "2026-01-06")
    lines = [{**line, "order_id": "o1", "amount": 30}, {**line, "order_id": "o3", "amount": 7}]
    home.arrive("order_lines", lines, "2026-01-06")
    home.arrive(
        "refunds", [{"refund_id": "r1", "refunded_at": later, "amount": 30, "order_id": "o1"}], "2026-01-06"
    )


@dataclass
class Day:
    """What was built for one day."""

    users: dict[Identifier, str]
    refused: list[tuple[Any, ...]]
    activities: list[tuple[Any, ...]]  # user_id, activity, activity_id, channel, campaign_id
    orders: list[tuple[Any, ...]]  # order_id, user_id, is_paid, is_fully_refunded, net_amount
    leads: dict[str, tuple[Any, ...]]  # user_id, status, seconds_to_won
    hashes: set[str]

    def users_of(self, prefix: str) -> set[str]:
        return {user for (_, identifier), user in self.users.items() if identifier.startswith(prefix)}


def read(home: WarehouseHome) -> Day:
    identifiers = home.rows("select id_type, id, user_id from private.user_identifiers")
    assert len(identifiers) == len({row[:2] for row in identifiers})
    leads = home.rows("select lead_id, user_id, status, seconds_to_won from marts.leads")
    return Day(
        users={(id_type, identifier): user for id_type, identifier, user in identifiers},
        refused=home.rows(
            "select refused_because, count(*), min(shared_id_type) "
            "from intermediate.int_identity__refused_links group by 1 order by 1"
        ),
        activities=home.rows(
            "select user_id, activity, activity_id, channel, campaign_id from intermediate.int_activity order by all"
        ),
        orders=home.rows(
            "select order_id, user_id, is_paid, is_fully_refunded, net_amount "
            "from intermediate.int_orders__resolved order by all"
        ),
        leads={row[0]: row[1:] for row in leads},
        hashes={row[0] for row in home.rows("select id_hash from marts.user_identities")},
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> WarehouseHome:
    home = WarehouseHome(tmp_path_factory.mktemp("core") / "home")
    for arrive in (arrive_one_person, arrive_shared_and_junk, arrive_facts):
        arrive(home)
    return home


@pytest.fixture(scope="module")
def days(home: WarehouseHome) -> dict[str, Day]:
    """Three days in a row, then the second one again in a warehouse built anew."""
    found = {}
    for day in ("2026-01-05", "2026-01-06", "2026-01-07"):
        home.build(day, *CORE)
        found[day] = read(home)
    home.home.warehouse.unlink()
    home.build("2026-01-06", *CORE)
    found["2026-01-06 again"] = read(home)
    return found


def test_a_user_keeps_the_oldest_identifiers_id(home: WarehouseHome, days: dict[str, Day]) -> None:
    first, second, third = (days[day].users for day in ("2026-01-05", "2026-01-06", "2026-01-07"))
    assert first[DEVICE] != first[PHONE]
    assert MEMBER not in first
    assert second[PHONE] == second[UNIONID] == second[MEMBER] == first[PHONE]
    assert second[DEVICE] == first[DEVICE]
    # One user in the end, named by the identifier that arrived first, although a later row is dated before it.
    assert {third[who] for who in (PHONE, DEVICE, UNIONID, MEMBER)} == {first[DEVICE]}
    digest = hmac.new(home.home.secret_key(), b"device_id:d-1", hashlib.sha256).hexdigest()
    assert first[DEVICE] == f"u{digest[:20]}"
    assert digest in days["2026-01-05"].hashes
    changed = {who for who, user in second.items() if third[who] != user}
    assert changed == {PHONE, UNIONID, MEMBER, ("lead_id", "l0")}


def test_a_past_day_in_a_new_warehouse_is_what_it_was(days: dict[str, Day]) -> None:
    assert days["2026-01-06 again"] == days["2026-01-06"]


def test_shared_identifiers_and_junk_join_nobody(days: dict[str, Day]) -> None:
    day = days["2026-01-05"]
    single = {day.users["member_id", "p0"], *(day.users["openid", f"p{n}"] for n in (1, 2, 3))}
    assert single == {day.users["phone", "13900000001"]}
    family = {day.users["member_id", f"f{n}"] for n in range(2)}
    assert len(family | {day.users["phone", "13900000004"]}) == 3
    store = {day.users["member_id", f"s{n}"] for n in range(4)}
    assert len(store | {day.users["phone", "13900000002"]}) == 5
    assert all(day.users["member_id", f"s{n}"] == day.users["email", f"s{n}@shop.example"] for n in range(4))
    assert day.users["member_id", "j0"] != day.users["member_id", "j1"]
    assert ("member_id", "0") in day.users
    assert ("phone", "00000000000") not in day.users
    assert day.refused == [
        ("above_limit", 6, "phone"),
        ("junk_identifier", 4, None),
        ("same_identifier", 1, None),
    ]


def test_facts_of_every_table_reach_the_activity_stream(days: dict[str, Day]) -> None:
    day = days["2026-01-06"]
    rows = [row for row in day.activities if row[0] in day.users_of("fact-")]
    counts: dict[str, int] = {}
    for _, activity, *_ in rows:
        counts[activity] = counts.get(activity, 0) + 1
    once = [
        "contact_added",
        "contact_deleted",
        "member_registered",
        "group_joined",
        "group_left",
        "order_paid",
        "item_paid",
        "order_refunded",
        "touch_sent",
        "touch_opened",
        "coupon_issued",
        "coupon_used",
        "lead_created",
        "lead_won",
        "referral_invited",
        "referral_joined",
        "manual_tag_set",
        "manual_tag_cleared",
        "experiment_assigned",
        "consent_granted",
        "consent_withdrawn",
        "erasure_requested",
    ]
    assert counts == {**dict.fromkeys(once, 1), "cart": 2, "order_placed": 2, "survey_answered": 2}
    by_activity = {activity: (user, channel, campaign) for user, activity, _, channel, campaign in rows}
    assert by_activity["contact_added"][1:] == ("store", "c1")
    assert by_activity["referral_joined"][0] == day.users["buyer_id", "fact-b2"]
    assert by_activity["referral_invited"][0] == day.users["buyer_id", "fact-b1"]
    assert day.leads["fact-l1"] == (day.users["lead_id", "fact-l1"], "won", 86400)


def test_activity_ids_are_unique_and_hold_no_identifier(days: dict[str, Day]) -> None:
    ids = [row[2] for row in days["2026-01-07"].activities]
    assert len(ids) == len(set(ids))
    assert not [activity_id for activity_id in ids if "fact-" in activity_id or PHONE[1] in activity_id]


def test_facts_that_arrive_or_happen_later_do_not_exist(days: dict[str, Day]) -> None:
    evening, next_evening = days["2026-01-05"], days["2026-01-06"]
    assert evening.orders == []
    later = {"order_placed", "group_left", "coupon_used", "lead_won", "contact_deleted", "consent_withdrawn"}
    assert not later & {activity for _, activity, *_ in evening.activities}
    assert evening.leads["fact-l1"][1:] == ("open", None)
    buyer = next_evening.users["buyer_id", "fact-b1"]
    assert [(*row[:4], float(row[4])) for row in next_evening.orders] == [
        ("o1", buyer, True, True, 0),
        ("o2", None, True, False, 10.5),
        ("o3", buyer, False, False, 7),
    ]


@pytest.mark.long
def test_a_day_built_at_once_equals_the_day_reached_day_by_day(tmp_path: Path) -> None:
    def deliver(home: WarehouseHome, day: int) -> None:
        on = f"2026-01-{day:02}"
        members = [member(f"m{n}", on, phone=f"1370000000{n % 4}") for n in range(day, day + 3)]
        home.arrive("members", members, on)
        orders = [
            order(f"o{day}{n}", f"{on} 0{n}:00:00", f"{n}.25", ("member_id", f"m{n}")) for n in range(6)
        ]
        corrected = order(f"o{day - 1}1", f"{on} 01:00:00", "9", ("member_id", "m1"), status="refunded")
        home.arrive("orders", [*orders, corrected], on)
        views = [
            event(f"{on} 0{n}:30:00", "view", ("phone", f"1370000000{n}"), event_id=f"e{day % 2}{n}")
            for n in range(4)
        ]
        home.arrive("events", views, on)
        home.arrive("leads", [{"lead_id": f"l{day}", "created_at": f"{on} 01:00:00"}], on)

    step_by_step, at_once = WarehouseHome(tmp_path / "steps"), WarehouseHome(tmp_path / "once")
    at_once.home.secret_key_file.write_text(step_by_step.home.secret_key().hex() + "\n")
    for day in range(5, 9):
        deliver(step_by_step, day)
        step_by_step.build(f"2026-01-{day:02}", *CORE)
    for day in range(5, 12):
        deliver(at_once, day)
    at_once.build("2026-01-08", *CORE)
    for relation in (
        "intermediate.int_identity__users",
        "private.user_identifiers",
        "intermediate.int_orders__resolved",
        "intermediate.int_activity",
        "marts.leads",
        "marts.user_identities",
    ):
        rows = step_by_step.rows(f"select * from {relation} order by all")
        assert rows, relation
        assert rows == at_once.rows(f"select * from {relation} order by all"), relation


def test_a_model_that_fails_leaves_the_table_of_before(tmp_path: Path) -> None:
    home = WarehouseHome(tmp_path / "home")
    home.arrive("products", [{"product_id": "p1", "name": "Toner"}], "2026-01-01")
    home.build("2026-01-02", "stg_raw__products")
    (file,) = (home.home.raw / "products" / "2026-01-01").glob("*.parquet")
    file.write_bytes(b"not Parquet any more")
    with pytest.raises(AssertionError, match="stg_raw__products"):
        home.build("2026-01-03", "stg_raw__products")
    assert home.rows("select product_id from staging.stg_raw__products") == [("p1",)]
