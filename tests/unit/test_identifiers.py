"""Identifiers as people type them, and as they are shown."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.home import DBT_PROJECT_DIR
from orchestration.publishing.identifiers import earlier_user_ids, find_users, masked, normalising_sql
from orchestration.publishing.labels import (
    COLUMN_FAMILIES,
    COLUMN_LABELS,
    TOUCH_LABELS,
    activity_label,
    column_title,
)
from orchestration.specs.catalog import read_columns


@pytest.mark.parametrize(
    ("id_type", "value", "shown"),
    [
        ("phone", "13800000000", "138****0000"),
        ("phone", "+85261234567", "+85****4567"),
        ("phone", "1234", "****4"),
        ("email", "lili@example.com", "l****@example.com"),
        ("member_id", "M100000427", "****427"),
        ("unionid", "oU1a2b3c4d5e6f", "****5e6f"),
        ("buyer_id", "17", "****"),
        ("name", "王小明", "王**"),
    ],
)
def test_masked(id_type: str, value: str, shown: str) -> None:
    assert masked(id_type, value) == shown


@given(st.sampled_from(["phone", "email", "member_id", "unionid", "device_id", "name"]), st.text(min_size=1))
def test_most_of_an_identifier_is_hidden(id_type: str, value: str) -> None:
    shown = masked(id_type, value)
    if id_type == "email" and "@" in value:
        own, _, domain = value.partition("@")
        assert shown == f"{own[:1]}****@{domain}"
    elif id_type == "phone" and len(value) >= 11:
        assert len(shown.replace("****", "", 1)) == 7
    else:
        kept = shown.replace("****", "", 1).removesuffix("**") if id_type == "name" else shown[4:]
        assert len(kept) <= max(1, len(value) // 3)
        assert value.startswith(kept) or value.endswith(kept)


@pytest.mark.parametrize(
    ("id_type", "typed", "kept"),
    [
        ("phone", "138 0000 0000", "13800000000"),
        ("phone", "+86-138-0000-0000", "13800000000"),
        ("phone", "１３８００００００００", "13800000000"),
        ("phone", "0049 301234567", "+49301234567"),
        ("email", " Lili@Example.COM ", "lili@example.com"),
        ("member_id", " M1 ", "M1"),
        ("member_id", "m1", "m1"),
    ],
)
def test_typed_as_identity_keeps_it(id_type: str, typed: str, kept: str) -> None:
    with duckdb.connect() as session:
        found = session.execute(f"select {normalising_sql('$kind', '$id')}", {"kind": id_type, "id": typed})
        assert found.fetchall() == [(kept,)]


@pytest.fixture
def session(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("attach ':memory:' as marts; attach ':memory:' as private")
    connection.execute("create table marts.user_wide as select unnest(['u1', 'u2', 'u3']) as user_id")
    connection.execute(
        "create table private.user_identifiers as select * from (values ('u1', 'phone', '13800000000'), "
        "('u2', 'member_id', '13800000000'), ('u1', 'email', 'a@b.cn'), ('u3', 'member_id', 'u1')) "
        "as t (user_id, id_type, id)"
    )
    connection.execute(
        "create table marts.user_merges (user_id varchar, current_user_id varchar, kind varchar)"
    )
    return connection


def test_users_are_found_by_every_kind(session: duckdb.DuckDBPyConnection) -> None:
    assert find_users(session, "13800000000") == [("u2", "member_id"), ("u1", "phone")]
    assert find_users(session, "13800000000", "phone") == [("u1", "phone")]
    assert find_users(session, "+86 138 0000 0000") == [("u1", "phone")]
    assert find_users(session, "A@B.cn") == [("u1", "email")]
    assert find_users(session, "u1") == [("u3", "member_id"), ("u1", "user_id")]
    assert find_users(session, "u1", "user_id") == [("u1", "user_id")]
    assert find_users(session, "u9") == []
    assert find_users(session, "' or true --") == []


def test_an_id_that_was_merged_leads_to_the_present_one(session: duckdb.DuckDBPyConnection) -> None:
    session.execute(
        "insert into marts.user_merges values ('u8', 'u1', 'merge'), ('u7', null, 'merge'), ('u2', 'u2', 'merge'), "
        "('u6', 'u1', 'split'), ('u5', 'u1', 'merge')"
    )
    assert find_users(session, "u8") == [("u1", "user_id")]
    assert find_users(session, "u7") == []
    assert find_users(session, "u6") == []
    assert earlier_user_ids(session, "u1") == ["u5", "u8"]
    assert find_users(session, "u2") == [("u2", "user_id")]


def test_columns_and_activities_have_names() -> None:
    assert column_title("views_count_30d") == "Views in 30 days"
    assert column_title("identifier_count") == "Identifiers"
    assert column_title("touches_sent_count_90d") == "Touches sent in 90 days"
    assert column_title("is_sms_consented") == "SMS consented"
    assert column_title("last_cart_at") == "Last cart"
    assert activity_label("order_paid") == ("支付订单", "Paid an order")
    assert activity_label("something_new") == ("something new", "Something new")
    columns = list(read_columns(DBT_PROJECT_DIR / "models"))
    starts = [columns.index(start) for *_, start in COLUMN_FAMILIES]
    assert starts == sorted(starts)
    assert next(iter(TOUCH_LABELS)) == "planned"
    assert all(column_title(column)[0].isupper() for column in COLUMN_LABELS)
