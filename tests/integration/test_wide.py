"""A few people through intake and every model up to the wide table, as of two days."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.home import DBT_PROJECT_DIR, PROJECT_ROOT, Home
from orchestration.ingestion.intake import take_in
from orchestration.settings import Settings
from orchestration.warehouse import session
from tests.command import environment
from tests.warehouse_home import WarehouseHome

# Anna is known by five identifiers; Ben by his phone only; one order is a guest's. Times are business time.
FILES = {
    "members": """member_id,registered_at,unionid,phone,gender,birth_date,level,channel,updated_at
M1,2026-01-05 10:00:00,UA,13800000001,female,1996-03-02,gold,store,2026-01-05 10:00:00
""",
    "contacts": """contact_id,staff_id,added_at,unionid,state_code
C1,S1,2026-01-04 09:00:00,UA,QR1
""",
    "landing_codes": """state_code,channel,campaign_id,cost
QR1,fair,CP1,12.5
""",
    "identity_links": """id_type_a,id_a,id_type_b,id_b,linked_at,source
openid,OA,phone,+86 138-0000-0001,2026-01-06 08:00:00,login
""",
    "orders": """order_id,ordered_at,amount,id_type,id,status,channel,discount_amount
1,2026-01-10 12:00:00,100,phone,13800000001,paid,app,25
2,2026-01-10 13:00:00,50,openid,OA,,app,0
3,2026-01-20 12:00:00,80,member_id,M1,refunded,web,0
4,2026-01-25 12:00:00,40,phone,8613800000001,cancelled,web,0
5,2026-03-01 00:10:00,60,unionid,UA,paid,web,0
6,2026-01-12 12:00:00,30,phone,13800000002,paid,store,0
7,2026-01-12 12:00:00,500,,,paid,store,0
""",
    "refunds": """refund_id,refunded_at,amount,order_id,id_type,id
R1,2026-01-22 12:00:00,80,3,,
R2,2026-01-23 12:00:00,20,2,,
R3,2026-01-24 12:00:00,5.5,,contact_id,C1
R4,2026-01-24 12:00:00,30,,phone,13800000002
""",
    "events": """id_type,id,event_name,occurred_at,touchpoint,session_id
openid,OA,view,2026-02-27 21:00:00,mini_program,s1
openid,OA,cart,2026-02-28 21:30:00,mini_program,s2
openid,OA,view,2026-03-01 00:05:00,app,s3
""",
    "consents": """id_type,id,purpose,channel,status,changed_at
phone,13800000001,marketing,sms,granted,2026-01-05 10:00:00
phone,13800000002,marketing,sms,granted,2026-01-05 10:00:00
phone,13800000002,marketing,sms,withdrawn,2026-01-06 10:00:00
""",
    "leads": """lead_id,created_at,id_type,id,origin,won_at
L1,2026-01-03 10:00:00,phone,13800000002,organic,2026-03-01 09:00:00
""",
    "referrals": """inviter_id_type,inviter_id,invitee_id_type,invitee_id,invited_at,joined_at
contact_id,C1,phone,13800000002,2026-01-02 10:00:00,2026-01-03 10:00:00
""",
}


def build(home: Home, as_of: dt.date) -> dict[str, dict[str, Any]]:
    """Rows of user_wide as of a day, by what each person is called here."""
    outcome = subprocess.run(
        [
            Path(sys.executable).with_name("dbt"),
            *("build", "--select", "+user_wide", "+rfm_segments", "--indirect-selection", "cautious"),
            *("--exclude-resource-type", "unit_test"),
            *("--project-dir", DBT_PROJECT_DIR, "--profiles-dir", DBT_PROJECT_DIR),
            *("--target-path", home.dbt_target, "--log-path", home.logs),
        ],
        env=environment(
            JINGXI_HOME=str(home.path), JINGXI_AS_OF=as_of.isoformat(), PYTHONPATH=str(PROJECT_ROOT)
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        found = connection.execute("select * from marts.user_wide")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {"Anna" if row["is_member"] else "Ben": row for row in rows}


@pytest.mark.long
def test_people_in_one_row_each(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    for table, text in FILES.items():
        (landing / table).mkdir(parents=True)
        (landing / table / f"{table}.csv").write_text(text)
    home = Home(tmp_path / "home")
    home.create()
    take_in(home, Settings(), landing, now=dt.datetime.now(dt.UTC), business_day=dt.date(2026, 3, 2))

    people = build(home, dt.date(2026, 2, 28))
    assert set(people) == {"Anna", "Ben"}
    anna, ben = people["Anna"], people["Ben"]
    expected_anna = {
        "as_of_date": dt.date(2026, 2, 28),
        "first_seen_date": dt.date(2026, 1, 2),
        "gender": "female",
        "age_band": "25-34",
        "is_birthday_week": False,
        "birth_month": 3,
        "member_level": "gold",
        "acquisition_date": dt.date(2026, 1, 4),
        "acquisition_channel": "fair",
        "acquisition_campaign_id": "CP1",
        "acquisition_cost": Decimal("12.5"),
        "is_invited": False,
        "is_contact": True,
        "days_since_contact_added": 55,
        "is_contact_deleted_within_30d": False,
        "primary_staff_id": "S1",
        "has_phone": True,
        "has_unionid": True,
        "has_email": False,
        "is_sms_consented": True,
        "is_wecom_consented": False,
        "last_active_date": dt.date(2026, 2, 28),
        "active_days_7d": 2,
        "views_count_7d": 1,
        "carts_count_7d": 1,
        "has_open_cart": True,
        "sessions_count_30d": 2,
        "top_touchpoint_90d": "mini_program",
        "first_order_date": dt.date(2026, 1, 10),
        "last_order_date": dt.date(2026, 1, 10),
        "orders_count": 2,
        "order_days_count": 1,
        "gross_amount": Decimal(150),
        "refund_amount": Decimal("25.5"),
        "net_amount": Decimal("124.5"),
        "average_order_amount": Decimal(75),
        "discount_share": Decimal("0.142857"),
        "top_channel": "app",
        "invited_count": 1,
        "invited_joined_count": 1,
        "lifecycle_stage": "old_bought",
        "activity_stage": "active",
    }
    assert {name: anna[name] for name in expected_anna} == expected_anna
    assert anna["rfm_cell"] == "general_winback"  # the only buyer is above no mean
    expected_ben = {
        "acquisition_channel": "organic",
        "inviter_user_id": anna["user_id"],
        "is_marketing_consented": False,
        "is_marketing_withdrawn": True,
        "orders_count": 1,
        "net_amount": Decimal(0),
        "leads_count": 1,
        "is_lead_won": False,
        "rfm_cell": "no_order",
        "r_score": None,
    }
    assert {name: ben[name] for name in expected_ben} == expected_ben

    later = build(home, dt.date(2026, 3, 1))
    assert later["Anna"]["user_id"] == anna["user_id"]
    assert later["Anna"]["order_days_count"] == 2
    assert later["Anna"]["is_birthday_week"] is True  # born on 2 March, a Monday in 2026
    assert later["Anna"]["has_open_cart"] is False
    assert later["Anna"]["lifecycle_stage"] == "old_repurchased"
    assert later["Anna"]["purchase_interval_days"] == 50
    assert later["Anna"]["next_order_expected_date"] == dt.date(2026, 4, 20)
    assert later["Ben"]["is_lead_won"] is True
    assert later["Ben"]["days_since_order"] == 48


def test_every_family_of_the_wide_table_is_read_in_parts() -> None:
    """A family that is read whole costs the memory of all users, and gives the same rows: nothing else would show it."""
    text = (DBT_PROJECT_DIR / "models/marts/core/user_wide.sql").read_text()
    families = re.findall(r'ref\("(\w+)"\)', text)
    in_parts = re.findall(r'ref\("(\w+)"\) \}\}\s+where \{\{ in_part\("user_id"\) \}\}', text)
    assert len(families) > 10
    assert families == in_parts


def test_tables_are_the_same_when_they_are_built_in_parts(
    small_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_home, tmp_path / "home", symlinks=True)
    home = WarehouseHome(tmp_path / "home")
    ((users,),) = home.rows("select count(*) from marts.user_wide")
    at_a_time = 40
    monkeypatch.setattr(session, "BYTES_PER_USER", 4 * 10**9 // at_a_time)
    part = f"hash(user_id) % {users // at_a_time + 1}"
    assert users > 4 * at_a_time
    tables = ("user_wide", "user_tag_history")
    whole = {table: home.rows(f"select * from marts.{table} order by all") for table in tables}
    ((as_of,),) = home.rows("select distinct as_of_date from marts.user_wide")
    home.build(as_of.isoformat(), *tables, tests=False)
    for table in tables:
        assert home.rows(f"select * from marts.{table} order by all") == whole[table]
        # Each part was written after the one before it.
        written = home.rows(
            f"select {part} from marts.{table} where as_of_date = date '{as_of}' order by rowid"
        )
        assert written == sorted(written)
        assert len(set(written)) > 1


@pytest.mark.parametrize(
    ("limit", "users"),
    [("4GB", 800_000), ("2 GB", 400_000), ("512MiB", 107_374), ("1.5GiB", 322_122), ("1MB", 200)],
)
def test_more_memory_holds_more_users_at_a_time(limit: str, users: int) -> None:
    assert session.users_per_part(limit) == users
