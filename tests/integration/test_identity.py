"""Who is who when files are wrong, are replaced, or say different things on different days."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.activation.deliveries import Delivery, take_in_deliveries, write_deliveries
from orchestration.publishing.database import Place
from orchestration.publishing.publication import Publication, write_publication
from orchestration.settings import load_settings
from tests.integration.test_core_models import Identifier, event, link, member, order
from tests.warehouse_home import WarehouseHome

IDENTITY = ("+user_merges", "+identity_conflicts", "+user_identities", "+user_identifiers")
DEVICE: Identifier = ("device_id", "till")
LAST = "2026-01-09"


def arrive(home: WarehouseHome) -> None:
    """Everything that the tests are about, over five days."""
    first, later = "2026-01-05", "2026-01-07"
    # A snapshot at one path: on the 7th a member has another phone, and one is gone.
    snapshot = [member("snap1", first, phone="13100000001"), member("snap2", first)]
    home.arrive("members", snapshot, first, path="members/all.csv")
    home.arrive("members", [member("snap1", first, phone="13100000002")], later, path="members/all.csv")
    # A member known from the 5th gains on the 7th a phone that was a user of its own from the 6th.
    home.arrive("members", [member("gains", first)], first)
    home.arrive("events", [event("2026-01-06 03:00:00", "view", ("phone", "13100000003"))], "2026-01-06")
    home.arrive("members", [member("gains", first, phone="+86 131 0000 0003")], later)
    # What a form, an order and a lead say.
    form = event(
        "2026-01-06 04:00:00", "FORM_SUBMIT", ("openid", "form-o"), properties='{"phone": 13100000004}'
    )
    home.arrive("events", [form], "2026-01-06")
    home.arrive("members", [member("form-m", first, phone="13100000004")], first)
    buys = order("o1", "2026-01-06 05:00:00", "9", ("member_id", "order-m"), device_id="order-d")
    home.arrive("orders", [buys], "2026-01-06")
    told = {"id_type": "phone", "id": "13100000005"}
    home.arrive("leads", [{"lead_id": "lead-1", "created_at": "2026-01-06 05:00:00", **told}], "2026-01-06")
    # A link to itself, an empty identifier, zeros in full width, and a till that everybody uses.
    wrong = [
        link(("openid", "itself"), ("openid", " itself "), "2026-01-06 01:00:00"),
        link(("openid", "blank"), ("phone", " "), "2026-01-06 01:00:00"),
        link(("openid", "zeros"), ("phone", "＋８６ ０００"), "2026-01-06 01:00:00"),
    ]
    till = [link(DEVICE, ("openid", f"till{n:03}"), "2026-01-06 01:00:00") for n in range(300)]
    home.arrive("identity_links", [*wrong, *till], "2026-01-06")
    # Two birthdays and two genders of one member; a member who registers after the first order.
    born = {"birth_date": "1990-02-03", "gender": "F"}
    home.arrive("members", [member("twice", first, **born), member("late", "2026-01-08")], first)
    home.arrive("members", [member("twice", first, birth_date="1991-02-03", gender="男")], later)
    home.arrive("orders", [order("o2", "2026-01-05 05:00:00", "9", ("member_id", "late"))], first)
    # An event that is told again with another identifier.
    home.arrive(
        "events", [event("2026-01-05 03:00:00", "view", ("openid", "mistaken"), event_id="e1")], first
    )
    home.arrive("events", [event("2026-01-05 03:00:00", "view", ("openid", "righted"), event_id="e1")], later)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> WarehouseHome:
    home = WarehouseHome(tmp_path_factory.mktemp("identity") / "home")
    arrive(home)
    home.build(LAST, *IDENTITY, "+int_users__profile")
    return home


@pytest.fixture(scope="module")
def users(home: WarehouseHome) -> dict[Identifier, str]:
    rows = home.rows("select id_type, id, user_id from private.user_identifiers")
    return {(id_type, identifier): user for id_type, identifier, user in rows}


def _id(home: WarehouseHome, id_type: str, identifier: str) -> str:
    digest = hmac.new(home.home.secret_key(), f"{id_type}:{identifier}".encode(), hashlib.sha256)
    return f"u{digest.hexdigest()[:20]}"


def _merges(home: WarehouseHome, user: str) -> list[tuple[Any, ...]]:
    return home.rows(
        "select new_user_id, kind, cast(changed_on as varchar), current_user_id, cause, stated_by, id_type_a, id_type_b "
        f"from marts.user_merges where user_id = '{user}' order by all"
    )


def test_tables_say_who_is_who(users: dict[Identifier, str]) -> None:
    assert users["member_id", "form-m"] == users["openid", "form-o"] == users["phone", "13100000004"]
    assert users["member_id", "order-m"] == users["device_id", "order-d"]
    assert users["lead_id", "lead-1"] == users["phone", "13100000005"]


def test_what_a_member_gains_later_is_named_by_the_member(
    home: WarehouseHome, users: dict[Identifier, str]
) -> None:
    member_user, phone_user = _id(home, "member_id", "gains"), _id(home, "phone", "13100000003")
    assert users["phone", "13100000003"] == users["member_id", "gains"] == member_user
    assert _merges(home, phone_user) == [
        (member_user, "merge", "2026-01-07", member_user, "link_stated", "members", "member_id", "phone")
    ]
    assert _merges(home, member_user) == []


def test_a_replaced_file_withdraws_its_links_and_not_its_age(
    home: WarehouseHome, users: dict[Identifier, str]
) -> None:
    user = _id(home, "member_id", "snap1")
    assert users["member_id", "snap1"] == users["phone", "13100000002"] == user
    # Nobody names the first phone and the second member any more.
    assert ("phone", "13100000001") not in users
    assert ("member_id", "snap2") not in users
    gone = _id(home, "phone", "13100000001")
    assert _merges(home, user) == [
        (gone, "split", "2026-01-07", None, "link_withdrawn", "members", "member_id", "phone")
    ]
    known = home.row(
        f"select first_arrived_on from intermediate.int_identity__users where user_id = '{user}'"
    )
    assert str(known[0]) == "2026-01-05"


def test_an_identifier_that_everybody_uses_joins_nobody(
    home: WarehouseHome, users: dict[Identifier, str]
) -> None:
    guests = {users["openid", f"till{n:03}"] for n in range(300)}
    assert len(guests | {users[DEVICE]}) == 301
    assert home.rows(
        "select id_type, user_id, links, users, outcome from marts.identity_conflicts where conflict = 'above_limit'"
    ) == [("device_id", users[DEVICE], 300, 301, "links_refused")]


def test_links_to_itself_and_to_nothing_are_listed(home: WarehouseHome, users: dict[Identifier, str]) -> None:
    assert not [identifier for _, identifier in users if identifier.strip(" 0+86") == ""]
    rows = home.rows(
        "select conflict, id_type, links, user_id from marts.identity_conflicts "
        "where conflict in ('same_identifier', 'junk_identifier') order by all"
    )
    assert rows == [
        ("junk_identifier", "phone", 1, None),
        ("junk_identifier", "phone", 1, None),
        ("same_identifier", "openid", 1, users["openid", "itself"]),
    ]


def test_the_latest_birthday_counts_and_the_conflict_is_listed(
    home: WarehouseHome, users: dict[Identifier, str]
) -> None:
    user = users["member_id", "twice"]
    rows = home.rows(
        "select conflict, values_found, outcome, cast(known_on as varchar) from marts.identity_conflicts "
        f"where user_id = '{user}' order by all"
    )
    assert rows == [
        ("birth_dates_differ", 2, "latest_value_counts", "2026-01-07"),
        ("genders_differ", 2, "latest_value_counts", "2026-01-07"),
    ]
    profile = home.row(f"select gender from intermediate.int_users__profile where user_id = '{user}'")
    assert profile == ("male",)


def test_registration_after_the_first_order_is_listed(
    home: WarehouseHome, users: dict[Identifier, str]
) -> None:
    rows = home.rows(
        "select user_id, cast(known_on as varchar), outcome from marts.identity_conflicts "
        "where conflict = 'registered_after_first_order'"
    )
    assert rows == [(users["member_id", "late"], "2026-01-08", "both_dates_stand")]


def test_the_marts_hold_no_identifier(home: WarehouseHome, users: dict[Identifier, str]) -> None:
    # Identifiers that could not be something else by chance.
    raw = [identifier for _, identifier in users if len(identifier) > 5]
    for table in ("user_merges", "identity_conflicts", "user_identities"):
        columns = [row[0] for row in home.rows(f"describe marts.{table}") if row[1] == "VARCHAR"]
        found = {
            value for row in home.rows(f"select {', '.join(columns)} from marts.{table}") for value in row
        }
        assert not [value for value in found - {None} if any(identifier in value for identifier in raw)]


def test_going_forward_finds_the_same(home: WarehouseHome, tmp_path: Path) -> None:
    daily = WarehouseHome(tmp_path / "daily")
    daily.home.secret_key_file.write_text(home.home.secret_key().hex() + "\n")
    arrive(daily)
    assert daily.advance("2026-01-06", *IDENTITY) is None
    assert daily.advance(LAST, *IDENTITY) == "2026-01-06"
    forward = daily.rows("select model from main.running_models where since_date = date '2026-01-06'")
    assert {
        "int_identity__components",
        "int_identity__fact_sightings",
        "int_identity__told",
        "int_identity__statements",
        "int_identity__written",
        "int_identity__stated",
    } <= {model for (model,) in forward}
    for table in (
        "intermediate.int_identity__components",
        "intermediate.int_identity__users",
        "marts.user_merges",
        "marts.identity_conflicts",
        "private.user_identifiers",
    ):
        assert daily.rows(f"from {table} order by all") == home.rows(f"from {table} order by all"), table
    for table in ("written", "stated", "links", "lookup", "identifiers"):
        rows = f"select columns(lambda c: c <> 'changed_on') from intermediate.int_identity__{table} order by all"
        assert daily.rows(rows) == home.rows(rows), table
    users = {identifier for (identifier,) in home.rows("select id from private.user_identifiers")}
    assert "righted" in users
    assert "mistaken" not in users


def _publish(home: WarehouseHome) -> None:
    """What reading back needs of a publication, as the warehouse has it."""
    now = dt.datetime(2026, 1, 10)
    for file, tables in (
        (home.home.marts, ("marts.user_identities", "marts.user_merges")),
        (home.home.private_marts, ("private.user_identifiers",)),
    ):
        with duckdb.connect(str(file)) as session:
            write_publication(
                session, Place(file.stem, "main"), Publication("v1", dt.date(2026, 1, 9), "h", now)
            )
            session.execute(f"attach '{home.home.warehouse}' as warehouse (read_only)")
            for table in tables:
                session.execute(f"create table {table.split('.')[1]} as from warehouse.{table}")
            if file == home.home.marts:
                session.execute(
                    "create table user_wide as select distinct user_id from warehouse.private.user_identifiers"
                )


def test_deliveries_that_come_back_make_no_users_and_join_nobody(home: WarehouseHome, tmp_path: Path) -> None:
    own = WarehouseHome(Path(shutil.copytree(home.home.path, tmp_path / "home")))
    before = own.rows("select user_id, id_type, id from private.user_identifiers order by all")
    _publish(own)
    settings, sent_at = load_settings(own.home)[0], dt.datetime(2026, 1, 10, 2, tzinfo=dt.UTC)

    def told(name: str, id_type: str, id_: str) -> Delivery:
        key = hmac.new(own.home.secret_key(), f"{id_type}:{id_}".encode(), hashlib.sha256).hexdigest()
        return Delivery(f"push:r1:{name}", id_type, key, "sms", "sent", sent_at)

    user = own.row("select user_id from private.user_identifiers where id = '13100000003'")[0]
    written = write_deliveries(
        own.home,
        settings,
        [
            told("a", "phone", "13100000003"),
            told("b", "member_id", "snap1"),
            told("c", "user_id", user),
            told("d", "phone", "13999999999"),
        ],
        at=sent_at,
    )
    assert (written.rows, written.unknown) == (3, 1), "nobody whom the warehouse does not know"
    take_in_deliveries(own.home, settings, now=sent_at)
    own.advance("2026-01-10", *IDENTITY)
    rows = own.rows("select touch_id, id_type, id from staging.stg_raw__touches order by all")
    assert [row[0] for row in rows] == ["push:r1:a", "push:r1:b", "push:r1:c"]
    assert own.rows("select user_id, id_type, id from private.user_identifiers order by all") == before
    users = dict(own.rows("select id, user_id from private.user_identifiers"))
    assert users[rows[0][2]] == users[rows[2][2]] == user
