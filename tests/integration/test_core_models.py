"""Users, orders, leads and activities, built by the real dbt project from raw files that arrive day by day."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest

from tests.warehouse_home import Row, WarehouseHome

CORE = ("+int_activity", "+int_identity__refused_links", "+leads", "+user_identities", "+user_identifiers")


@pytest.fixture(scope="module")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], WarehouseHome]:
    target = tmp_path_factory.mktemp("target")  # one partial parse for all homes of this module
    return lambda name: WarehouseHome(tmp_path_factory.mktemp(name) / "home", target=target)


def member(member_id: str, registered: str, **more: str) -> Row:
    return {"member_id": member_id, "registered_at": f"{registered} 02:00:00", **more}


def link(a: tuple[str, str], b: tuple[str, str], at: str) -> Row:
    return {
        "id_type_a": a[0],
        "id_a": a[1],
        "id_type_b": b[0],
        "id_b": b[1],
        "linked_at": at,
        "source": "login",
    }


def order(order_id: str, at: str, amount: str, buyer: tuple[str, str] | None = None, **more: str) -> Row:
    id_type, identifier = buyer or (None, None)
    return {
        "order_id": order_id,
        "ordered_at": at,
        "amount": amount,
        "id_type": id_type,
        "id": identifier,
        **more,
    }


def event(at: str, name: str, who: tuple[str, str], **more: str) -> Row:
    return {"id_type": who[0], "id": who[1], "event_name": name, "occurred_at": at, **more}


def users(home: WarehouseHome) -> dict[tuple[str, str], str]:
    """User of every typed identifier."""
    rows = home.rows("select id_type, id, user_id from private.user_identifiers")
    assert len(rows) == len({row[:2] for row in rows})
    return {(id_type, identifier): user for id_type, identifier, user in rows}


def test_no_input_makes_empty_tables_with_the_right_columns(new_home: Callable[[str], WarehouseHome]) -> None:
    home = new_home("nothing")
    home.build("2026-01-31", *CORE)
    assert users(home) == {}
    assert home.row("select count(*) from marts.leads") == (0,)
    columns = [name for name, *_ in home.rows("describe marts.user_identities")]
    assert columns == ["user_id", "id_type", "id_hash", "first_seen_at", "last_seen_at"]


def test_one_person_over_days_and_rebuilds(new_home: Callable[[str], WarehouseHome]) -> None:
    home = new_home("days")
    device, phone, unionid = ("device_id", "d-1"), ("phone", "13800000000"), ("unionid", "oU1")
    home.arrive("events", [event("2026-01-05 03:00:00", "view", device)], "2026-01-05")
    home.arrive(
        "leads",
        [
            {
                "lead_id": "l1",
                "created_at": "2026-01-05 04:00:00",
                "id_type": "phone",
                "id": "+86 138 0000 0000",
            }
        ],
        "2026-01-05",
    )
    home.build("2026-01-05", *CORE)
    first = users(home)
    assert set(first) == {device, phone}
    assert first[device] != first[phone]

    key = home.home.secret_key()
    digest = hmac.new(key, b"device_id:d-1", hashlib.sha256).hexdigest()
    assert first[device] == f"u{digest[:20]}"
    assert home.row("select id_hash from marts.user_identities where id_type = 'device_id'") == (digest,)

    # A member ties the phone to a unionid, then a login ties the device to the member: one user, the oldest id.
    home.arrive("members", [member("m1", "2026-01-06", phone="138-0000-0000", unionid="oU1")], "2026-01-06")
    home.build("2026-01-06", *CORE)
    second = users(home)
    assert second[phone] == second[unionid] == second["member_id", "m1"] == first[phone]
    assert second[device] == first[device]

    home.arrive("identity_links", [link(("member_id", "m1"), device, "2026-01-07 01:00:00")], "2026-01-07")
    # Late, and dated before everything else: arrival decides who is older.
    home.arrive("events", [event("2026-01-01 00:00:00", "view", unionid)], "2026-01-07")
    # The member's row is delivered again, with another channel.
    home.arrive(
        "members",
        [member("m1", "2026-01-06", phone="138-0000-0000", unionid="oU1", channel="app")],
        "2026-01-07",
    )
    home.build("2026-01-07", *CORE)
    third = users(home)
    assert set(third.values()) == {first[device]}
    assert home.rows("select user_id, user_key, identifier_count from intermediate.int_identity__users") == [
        (first[device], 1, 4)
    ]

    home.home.warehouse.unlink()
    home.build("2026-01-07", *CORE)
    assert users(home) == third
    # A past day, built later, knows what was known then.
    home.build("2026-01-06", *CORE)
    assert users(home) == second


def test_shared_identifiers_and_junk_join_nobody(new_home: Callable[[str], WarehouseHome]) -> None:
    home = new_home("shared")
    family = [member(f"f{n}", "2026-01-05", phone="13900000001") for n in range(3)]
    store = [member(f"s{n}", "2026-01-05", phone="13900000002", email=f"s{n}@shop.example") for n in range(4)]
    junk = [member(f"j{n}", "2026-01-05", phone="00000000000", email="Test@Test.com") for n in range(2)]
    home.arrive("members", [*family, *store, *junk, member("0", "2026-01-05")], "2026-01-05")
    itself = link(("phone", "13900000003"), ("phone", "+86 139 0000 0003"), "2026-01-05 01:00:00")
    home.arrive("identity_links", [itself], "2026-01-05")
    home.build("2026-01-05", *CORE)
    found = users(home)
    assert len({found["member_id", f"f{n}"] for n in range(3)} | {found["phone", "13900000001"]}) == 1
    assert len({found["member_id", f"s{n}"] for n in range(4)} | {found["phone", "13900000002"]}) == 5
    assert all(found["member_id", f"s{n}"] == found["email", f"s{n}@shop.example"] for n in range(4))
    assert found["member_id", "j0"] != found["member_id", "j1"]
    assert ("member_id", "0") in found
    assert ("phone", "00000000000") not in found
    refused = home.rows(
        "select refused_because, count(*), min(shared_id_type) "
        "from intermediate.int_identity__refused_links group by 1 order by 1"
    )
    assert refused == [
        ("above_limit", 4, "phone"),
        ("junk_identifier", 4, None),
        ("same_identifier", 1, None),
    ]


def test_facts_of_every_table_reach_the_activity_stream(new_home: Callable[[str], WarehouseHome]) -> None:
    home = new_home("facts")
    who = ("buyer_id", "b1")
    typed = {"id_type": "buyer_id", "id": "b1"}
    at, later = "2026-01-05 03:00:00", "2026-01-06 03:00:00"
    home.arrive(
        "landing_codes", [{"state_code": "qr1", "channel": "store", "campaign_id": "c1"}], "2026-01-05"
    )
    home.arrive(
        "contacts",
        [
            {
                "contact_id": "x1",
                "staff_id": "s1",
                "added_at": at,
                "deleted_at": later,
                "blocked_at": "2026-02-01 00:00:00",
                "state_code": "qr1",
            }
        ],
        "2026-01-05",
    )
    home.arrive("members", [member("m1", "2026-01-05", channel="app")], "2026-01-05")
    home.arrive(
        "group_memberships", [{"group_id": "g1", **typed, "joined_at": at, "left_at": later}], "2026-01-05"
    )
    home.arrive("products", [{"product_id": "p1", "category_l1": "skin", "brand": "B"}], "2026-01-05")
    home.arrive(
        "orders",
        [
            order("o1", at, "30", who, paid_at=later, channel="app"),
            order("o2", at, "10.5", status="paid"),
            order("o3", at, "7", who, status="cancelled"),
        ],
        "2026-01-06",
    )
    lines = [
        {"order_id": o, "line_number": 1, "product_id": "p1", "quantity": 1, "amount": a}
        for o, a in (("o1", 30), ("o3", 7))
    ]
    home.arrive("order_lines", lines, "2026-01-06")
    home.arrive(
        "refunds", [{"refund_id": "r1", "refunded_at": later, "amount": 30, "order_id": "o1"}], "2026-01-06"
    )
    home.arrive("events", [event(at, "ADD_TO_CART", who), event(at, "ADD_TO_CART", who)], "2026-01-05")
    home.arrive(
        "touches",
        [
            {"touch_id": "t1", **typed, "channel": "sms", "status": s, "occurred_at": at}
            for s in ("sent", "opened")
        ],
        "2026-01-05",
    )
    home.arrive("coupons", [{"coupon_id": "k1", **typed, "issued_at": at, "used_at": later}], "2026-01-05")
    home.arrive(
        "leads",
        [
            {
                "lead_id": "l1",
                "created_at": at,
                "won_at": later,
                "lost_at": "2026-02-01 00:00:00",
                "origin": "search",
                "amount": 5,
            }
        ],
        "2026-01-05",
    )
    home.arrive(
        "referrals",
        [
            {
                "inviter_id_type": "buyer_id",
                "inviter_id": "b1",
                "invitee_id_type": "buyer_id",
                "invitee_id": "b2",
                "invited_at": at,
                "joined_at": later,
            }
        ],
        "2026-01-05",
    )
    home.arrive(
        "surveys",
        [{"response_id": "q", **typed, "answered_at": at, "question": n, "answer": "a"} for n in ("1", "2")],
        "2026-01-05",
    )
    home.arrive("manual_tags", [{**typed, "tag": "vip", "set_at": at, "cleared_at": later}], "2026-01-05")
    home.arrive(
        "experiment_assignments", [{"experiment": "e", **typed, "arm": "a", "assigned_at": at}], "2026-01-05"
    )
    home.arrive(
        "consents",
        [
            {**typed, "purpose": "marketing", "channel": "sms", "status": s, "changed_at": t}
            for s, t in (("granted", at), ("withdrawn", later))
        ],
        "2026-01-05",
    )
    home.arrive("erasure_requests", [{"request_id": "x", **typed, "requested_at": later}], "2026-01-05")
    home.build("2026-01-06", *CORE)
    counts = dict(home.rows("select activity, count(*) from intermediate.int_activity group by 1"))
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
    assert home.row("select count(*), count(distinct activity_id) from intermediate.int_activity") == (28, 28)
    named = home.rows(
        "select activity_id from intermediate.int_activity where activity_id similar to '.*(b1|m1|x1).*'"
    )
    assert named == []
    assert home.row(
        "select channel, campaign_id from intermediate.int_activity where activity = 'contact_added'"
    ) == ("store", "c1")
    by_user = "select user_id from private.user_identifiers where id = '{}'"
    invitee = home.row("select user_id from intermediate.int_activity where activity = 'referral_joined'")
    assert invitee == home.row(by_user.format("b2"))
    assert home.row("select user_id, status, seconds_to_won from marts.leads") == (
        *home.row(by_user.format("l1")),
        "won",
        86400,
    )
    assert home.row(
        "select is_fully_refunded, net_amount from intermediate.int_orders__resolved where order_id = 'o1'"
    ) == (True, 0)

    # The evening before, the order was placed but neither paid nor refunded.
    home.build("2026-01-05", *CORE)
    assert home.row("select count(*) from intermediate.int_orders__resolved") == (0,)
    activities = {name for (name,) in home.rows("select activity from intermediate.int_activity")}
    assert not activities & {"order_placed", "group_left", "coupon_used", "lead_won", "contact_deleted"}


def test_a_day_built_at_once_equals_the_day_reached_day_by_day(
    new_home: Callable[[str], WarehouseHome],
) -> None:
    queries = [
        "select * from intermediate.int_identity__users order by all",
        "select * from private.user_identifiers order by all",
        "select * exclude (_arrived_on) from intermediate.int_orders__resolved order by all",
        "select * from intermediate.int_activity order by all",
        "select * from marts.leads order by all",
    ]

    def deliver(home: WarehouseHome, day: int) -> None:
        on = f"2026-01-{day:02}"
        home.arrive(
            "members",
            [member(f"m{n}", on, phone=f"1370000000{n % 4}") for n in range(day, day + 3)],
            on,
            path="members/all.csv" if day > 8 else None,
        )
        home.arrive(
            "orders",
            [order(f"o{day}{n}", f"{on} 0{n}:00:00", f"{n}.25", ("member_id", f"m{n}")) for n in range(6)],
            on,
        )
        home.arrive(
            "orders",
            [order(f"o{day - 1}1", f"{on} 01:00:00", "9", ("member_id", "m1"), status="refunded")],
            on,
        )
        home.arrive(
            "events",
            [
                event(f"{on} 0{n}:30:00", "view", ("phone", f"1370000000{n}"), event_id=f"e{day % 2}{n}")
                for n in range(4)
            ],
            on,
        )

    step_by_step, at_once = new_home("steps"), new_home("once")
    object_key = step_by_step.home.secret_key()
    at_once.home.secret_key_file.write_text(object_key.hex() + "\n")
    for day in range(5, 9):
        deliver(step_by_step, day)
        step_by_step.build(f"2026-01-{day:02}", *CORE)
    for day in range(5, 12):
        deliver(at_once, day)
    at_once.build("2026-01-08", *CORE)
    for query in queries:
        rows = step_by_step.rows(query)
        assert rows
        assert rows == at_once.rows(query) or query.endswith("leads order by all"), query
