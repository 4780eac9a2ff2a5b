"""The compiled models do what the specs say: run on DuckDB, compared with the plain-Python meaning."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import random
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pyarrow as pa
import pytest
import yaml

from orchestration.errors import UsageError
from orchestration.home import DBT_PROJECT_DIR, PROJECT_ROOT, Home
from orchestration.specs.activities import ATTRIBUTES, EVENT_COLUMNS
from orchestration.specs.catalog import KEY, ValueType
from orchestration.specs.compiler import check, check_compiled, compile_specs, write
from orchestration.specs.kinds import Project
from orchestration.specs.loader import load_audiences, load_project, load_tags, specs_fingerprint
from orchestration.specs.predicates import Facts, holds
from orchestration.specs.preview import PreviewResult, preview, preview_spec
from orchestration.specs.preview_funnel import FunnelPreview
from orchestration.specs.preview_tags import TagsPreview
from orchestration.specs.tags import Tag
from tests.laws.tag_days_support import stacked

AS_OF = dt.date(2026, 6, 30)
# In the order of building.
TAG_MODELS = (
    *("int_tags__judged", "int_tags__user_days", "int_tags__versions", "int_tags__day_counts"),
    *("int_tags__kept", "int_tags__evaluated"),
    *("user_tag_history", "user_tags", "tag_coverage"),
)
USERS = 400


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project()


@pytest.fixture(scope="module")
def files(project: Project) -> dict[str, str]:
    return compile_specs(project)


def rendered(sql: str, as_of: dt.date = AS_OF) -> str:
    """A compiled model as dbt renders it, with the few macros it uses."""

    class Dbt:
        @staticmethod
        def type_string() -> str:
            return "varchar"

    return (
        jinja2.Environment(undefined=jinja2.StrictUndefined, extensions=["jinja2.ext.do"])
        .from_string(sql)
        .render(
            ref=lambda name: name,
            as_of=lambda: f"date '{as_of}'",
            days_between=lambda earlier, later: f"date_diff('day', {earlier}, {later})",
            config=lambda **_: "",
            holds_days=lambda: False,
            is_forward=lambda: False,
            forward_from=lambda: "cast(null as date)",
            has_gone_forward=lambda model: False,
            counted_rows=lambda name, query: query,
            scratch_name=lambda name: name,
            stacked=stacked,
            in_part=lambda user_id: "true",
            row_hash=lambda columns: f"hash({', '.join(columns)})",
            this="this",
            var=lambda name: {"history_days": 3}[name],
            add_days=lambda date, days: f"({date} + {days})",
            day_start=lambda date: f"timezone('UTC', timezone('Asia/Shanghai', cast({date} as timestamp)))",
            dbt=Dbt,
        )
    )


def random_users(project: Project, seed: int = 7) -> list[dict[str, Any]]:
    """Users whose values lie around the bounds that rules use; every column is empty now and then."""
    chance = random.Random(seed)
    users = []
    for number in range(USERS):
        user: dict[str, Any] = {}
        for column in project.columns.values():
            value: Any = None
            if chance.random() < 0.85:
                match column.type:
                    case ValueType.NUMBER:
                        value = chance.choice([0, 1, 2, 3, 5, 7, 8, 10, 20, 30, 60, 100, 150, 500, 2000])
                        if column.name.endswith(("share", "rate_90d")):
                            value = chance.choice([0.0, 0.1, 0.2, 0.5])
                    case ValueType.BOOLEAN:
                        value = chance.random() < 0.3
                    case ValueType.DATE:
                        value = AS_OF - dt.timedelta(
                            days=chance.choice([0, 1, 6, 7, 8, 89, 90, 91, 364, 365, 366])
                        )
                    case ValueType.TEXT:
                        value = chance.choice(column.values or ("a", "it's", "0", "none", "18-24", "65+"))
                    case ValueType.MOMENT:
                        value = dt.datetime(2026, 6, 29, 12)
            user[column.name] = value
        user[KEY] = f"u{number:04d}"
        users.append(user)
    return users


def insert(connection: duckdb.DuckDBPyConnection, users: list[dict[str, Any]]) -> None:
    rows = pa.Table.from_pylist(
        [{name: value for name, value in user.items() if not name.startswith("_")} for user in users]
    )
    connection.register("rows", rows)
    connection.execute("insert into user_wide by name select * from rows")
    connection.unregister("rows")


PRODUCTS = {"P1": "skincare", "P2": "makeup", "P3": None}
CELLS = ("important_value", "important_keep", "general_value")


def add_deeds(users: list[dict[str, Any]], seed: int = 11) -> None:
    """Gives users activities, an RFM cell and attempts at a funnel around the bounds that rules use."""
    chance = random.Random(seed)
    names = ["view", "cart", "order_paid", "read", "item_paid", "favourite"]
    for user in users:
        user["_cell"] = chance.choice([None, *CELLS])
        user["_observed"] = {}
        user["_attempts"] = [
            {
                "funnel": chance.choice(["shop_view_cart_buy", "lead_to_deal"]),
                "level": chance.randint(1, 3),
                "entered_date": AS_OF - dt.timedelta(days=chance.choice([0, 7, 36, 37])),
                "is_mature": chance.random() < 0.7,
            }
            for _ in range(chance.randint(0, 2))
        ]
        user["_activities"] = []
        for _ in range(chance.randint(0, 8)):
            day = AS_OF - dt.timedelta(days=chance.choice([0, 1, 6, 7, 8, 29, 30, 89, 90]))
            product = chance.choice([None, "P1", "P1", "P2", "P3", "P9"])
            user["_activities"].append(
                dict.fromkeys(EVENT_COLUMNS)
                | {
                    "activity": chance.choice(names),
                    "occurred_at": dt.datetime.combine(day, dt.time(chance.choice([0, 12]))),
                    "activity_date": day,
                    "product_id": product,
                    "category_l1": PRODUCTS.get(product or ""),
                }
            )


def add_observed(users: list[dict[str, Any]], tags: Collection[Tag], seed: int = 13) -> None:
    """Gives users interests, answers and tags of staff: of some nothing is known, some are known and not set."""
    chance = random.Random(seed)
    for user in users:
        for tag in tags:
            if tag.is_observed and chance.random() < 0.6:
                values = [*(tag.values or ("a", "it's")), *(["unknown"] if tag.values else [])]
                value = chance.choice(["true", "false"] if tag.type is ValueType.BOOLEAN else values)
                user["_observed"][tag.code] = (value, chance.random() < 0.7)


def insert_observed(connection: duckdb.DuckDBPyConnection, users: list[dict[str, Any]]) -> None:
    connection.execute("""
        create table int_tags__observed (user_id varchar, tag varchar, value varchar, place integer,
            is_set boolean, weight double, first_on date, last_on date, expires_on date,
            evidence_count bigint, last_activity varchar)
    """)
    for user in users:
        for code, (value, is_set) in user.get("_observed", {}).items():
            row = [user[KEY], code, value, 1, is_set, 2.5, dt.date(2026, 6, 1), dt.date(2026, 6, 2)]
            row += [dt.date(2026, 7, 9), 4, "read"]
            connection.execute(f"insert into int_tags__observed values ({', '.join('?' * len(row))})", row)
            if is_set:  # what comes second is no value of the tag
                row[2:4] = ["second", 2]
                connection.execute(
                    f"insert into int_tags__observed values ({', '.join('?' * len(row))})", row
                )


def insert_deeds(
    connection: duckdb.DuckDBPyConnection, project: Project, users: list[dict[str, Any]]
) -> None:
    stream = [name for name in EVENT_COLUMNS if name not in ATTRIBUTES]
    columns = ", ".join(f"{name} {EVENT_COLUMNS[name].sql_type}" for name in stream)
    connection.execute(
        "create table int_activity (user_id varchar, activity varchar, occurred_at timestamp, "
        f"activity_date date, {columns})"
    )
    connection.execute("create table stg_raw__products (product_id varchar, category_l1 varchar)")
    connection.execute(
        "create table funnel_users (user_id varchar, funnel varchar, level integer, entered_at timestamp, "
        "is_mature boolean)"
    )
    for table in sorted({segment.table for segment in project.segments.values()}):
        values = [s.column for s in project.segments.values() if s.table == table]
        listed = ", ".join(f"{column.name} {column.sql_type}" for column in values)
        connection.execute(f"create table {table} (user_id varchar, {listed})")
    for user in users:
        for deed in user.get("_activities", ()):
            row = [user[KEY], deed["activity"], deed["occurred_at"], deed["activity_date"]]
            row += [deed[name] for name in stream]
            connection.execute(f"insert into int_activity values ({', '.join('?' * len(row))})", row)
        for attempt in user.get("_attempts", ()):
            entered = dt.datetime.combine(attempt["entered_date"], dt.time()) - dt.timedelta(hours=8)
            connection.execute(
                "insert into funnel_users values (?, ?, ?, ?, ?)",
                [user[KEY], attempt["funnel"], attempt["level"], entered, attempt["is_mature"]],
            )
        if user.get("_cell"):
            connection.execute("insert into rfm_segments values (?, ?)", [user[KEY], user["_cell"]])
    connection.executemany("insert into stg_raw__products values (?, ?)", list(PRODUCTS.items()))


def known(user: dict[str, Any], tags: dict[str, Any] | None = None, audiences: Collection[str] = ()) -> Facts:
    """What is known of a user."""
    segments = {"rfm": user["_cell"]}
    return Facts(user, tags or {}, audiences, AS_OF, segments, user["_activities"], user["_attempts"])


@pytest.fixture(scope="module")
def users(project: Project) -> list[dict[str, Any]]:
    users = random_users(project)
    add_deeds(users)
    add_observed(users, load_tags(project).values())
    return users


@pytest.fixture(scope="module")
def built(project: Project, files: dict[str, str], users: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    """user_wide, what people did, and everything compiled from it, built."""
    connection = duckdb.connect(":memory:")
    connection.execute("set TimeZone = 'UTC'")
    columns = ", ".join(f"{column.name} {column.sql_type}" for column in project.columns.values())
    connection.execute(f"create table user_wide ({columns})")
    insert(connection, users)
    insert_deeds(connection, project, users)
    insert_observed(connection, users)
    for name in ("int_conditions__evaluated", *TAG_MODELS, "int_audiences__candidates"):
        (path,) = [path for path in files if path.endswith(f"/{name}.sql")]
        connection.execute(f"create table {name} as {rendered(files[path])}")
    return connection


def expected_value(tag: Tag, user: dict[str, Any]) -> Any:
    """The value of a tag for a user by its declaration: None not set, KeyError not evaluable."""
    if tag.is_observed:
        if tag.code not in user["_observed"] and tag.spec.by_hand:
            return None
        value, is_set = user["_observed"][tag.code]
        is_value = value in tag.values if tag.values else value != "false" or tag.type is ValueType.TEXT
        return value if is_set and is_value else None
    needed = [*tag.spec.needs, *([tag.spec.column] if tag.spec.column else [])]
    if any(user[name] is None for name in needed):
        raise KeyError(tag.code)
    confirmed = user.get(tag.spec.confirmed_by or "")
    if (
        tag.spec.validity_days
        and confirmed
        and confirmed + dt.timedelta(days=tag.spec.validity_days) <= AS_OF
    ):
        return None
    if tag.rule is not None:
        return True if holds(tag.rule, known(user)) else None
    if tag.cases:
        return next((value for value, rule in tag.cases if holds(rule, known(user))), None)
    value = user[str(tag.spec.column)]
    return value if tag.values is None or value in tag.values else None


def expected_tags(project: Project, user: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for tag in load_tags(project).values():
        try:
            value = expected_value(tag, user)
        except KeyError:
            continue
        if tag.is_active and value is not None:
            found[tag.code] = value
    return found


def test_generated_files_are_up_to_date() -> None:
    assert check_compiled() == []


def test_every_tag_is_as_declared_for_every_user(
    project: Project, built: duckdb.DuckDBPyConnection, users: list[dict[str, Any]]
) -> None:
    rows = built.execute("select user_id, tag, value from user_tags").fetchall()
    numbers = {code for code, tag in load_tags(project).items() if tag.type is ValueType.NUMBER}
    found = {(user_id, tag): float(value) if tag in numbers else value for user_id, tag, value in rows}
    assert len(found) == len(rows)

    def text(value: Any) -> str | float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        return "true" if value is True else str(value)

    expected = {
        (user[KEY], code): text(value)
        for user in users
        for code, value in expected_tags(project, user).items()
    }
    assert found == expected
    assert len({tag for _, tag in found}) == len(load_tags(project)) >= 60
    assert len({tag.family.category for tag in load_tags(project).values()}) == 9


def test_set_not_set_and_not_evaluable_add_up(
    project: Project, built: duckdb.DuckDBPyConnection, users: list[dict[str, Any]]
) -> None:
    found = {
        row[0]: row[1:]
        for row in built.execute("select * exclude (as_of_date, kept_from_date) from tag_coverage").fetchall()
    }
    for tag in load_tags(project).values():
        counts = {"set": 0, "not set": 0, "not evaluable": 0}
        for user in users:
            try:
                counts["not set" if expected_value(tag, user) is None else "set"] += 1
            except KeyError:
                counts["not evaluable"] += 1
        assert found[tag.code] == (USERS, *counts.values()), tag.code
    assert any(row[3] for row in found.values())


def test_days_of_a_tag_come_from_its_facts(built: duckdb.DuckDBPyConnection) -> None:
    rows = built.execute("""
        select first_set_at, last_confirmed_at, expires_at, evidence_count, weight,
            first_order_date, last_order_date, orders_count_365d
        from user_tags join user_wide using (user_id)
        where tag = 'spending_power'
    """).fetchall()
    assert len(rows) > 50

    def start(day: dt.date) -> dt.datetime:
        return dt.datetime.combine(day, dt.time()) - dt.timedelta(hours=8)

    for first_at, confirmed_at, expires_at, evidence, weight, first, last, orders in rows:
        last_day = last or AS_OF
        assert confirmed_at == start(last_day)
        assert first_at == start(min(first or last_day, last_day))
        assert expires_at == (start(last + dt.timedelta(days=365)) if last else None)
        assert expires_at is None or expires_at > start(AS_OF)
        assert (evidence, weight) == (1 if orders is None else orders, 1.0)


def test_every_audience_is_as_declared(
    project: Project, built: duckdb.DuckDBPyConnection, users: list[dict[str, Any]]
) -> None:
    rows = built.execute(
        "select audience, user_id, suppressed_by, is_member from int_audiences__candidates"
    ).fetchall()
    tags = {user[KEY]: expected_tags(project, user) for user in users}
    members: dict[str, set[str]] = {}
    for name, audience in load_audiences(project).items():
        expected = {}
        for user in users:
            user_id = user[KEY]
            within = [other for other, ids in members.items() if user_id in ids]
            if holds(audience.who, known(user, tags[user_id], within)):
                expected[user_id] = next(
                    (
                        why
                        for why, rule in audience.suppress
                        if holds(rule, known(user, tags[user_id], within))
                    ),
                    None,
                )
        members[name] = {user_id for user_id, why in expected.items() if why is None}
        found = {user_id: why for audience_name, user_id, why, _ in rows if audience_name == name}
        assert found == expected, name
        assert {row[1] for row in rows if row[0] == name and row[3]} == members[name]
    assert len(members) >= 6
    assert sum(map(bool, members.values())) >= 6


# --- limits, expiry, hostile text: a small project of its own -----------------------------------------------

FAMILY = """\
family: one
title: {zh: 一, en: One}
category: consumption
owner: crm
tags:
  - tag: order
    title: {zh: 词, en: A keyword of SQL as a name}
    description: "'; drop table user_wide; --"
    when: {column: top_category, eq: "'; drop table user_wide; -- \\\\ {x}"}
  - tag: recent
    title: {zh: 近, en: Recent}
    description: Holds for ten days.
    when: {column: orders_count, gte: 1}
    confirmed_by: last_order_date
    validity_days: 10
"""
BEST = """\
audience: select
title: {zh: "春'", en: "=1+1"}
owner: 'crm"'
description: "a: b # 'c' \\"d\\""
who: {any: [{tag: order}, {column: orders_count, gte: 1}]}
suppress:
  or: {column: is_blocked, eq: true}
limit: 3
rank_by: [{column: net_amount}, {column: last_order_date, order: ascending}]
holdout: {percent: 25}
expires_on: 2026-07-01
export: {columns: [net_amount, city], tags: [recent], identifiers: [phone], formats: [csv]}
"""


def small_project(folder: Path, project: Project) -> Project:
    for kind, name, text in (("tags", "one", FAMILY), ("audiences", "select", BEST)):
        file = folder / "dbt_project/specs" / kind / f"{name}.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return load_project(folder / "dbt_project", columns=project.columns)


def small_users(project: Project) -> list[dict[str, Any]]:
    empty = dict.fromkeys(project.columns)
    rows: list[dict[str, Any]] = [
        {"net_amount": 50, "last_order_date": dt.date(2026, 6, 21)},
        {"net_amount": 50, "last_order_date": dt.date(2026, 6, 20)},
        {"net_amount": 90, "last_order_date": dt.date(2026, 6, 19), "is_blocked": True},
        {"net_amount": None, "last_order_date": dt.date(2026, 6, 30)},
        {"net_amount": 70, "last_order_date": None},
        {"top_category": "'; drop table user_wide; -- \\ {x}", "orders_count": 0, "net_amount": 1},
    ]
    return [
        empty | {"orders_count": 1} | row | {KEY: f"u{number}"} for number, row in enumerate(rows, start=1)
    ]


def build_small(project: Project, as_of: dt.date = AS_OF) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    columns = ", ".join(f"{column.name} {column.sql_type}" for column in project.columns.values())
    connection.execute(f"create table user_wide ({columns})")
    insert(connection, small_users(project))
    insert_observed(connection, [])
    models = {Path(path).stem: text for path, text in compile_specs(project).items()}
    for name in TAG_MODELS:
        connection.execute(f"create table {name} as {rendered(models[name], as_of)}")
    connection.execute(f"create table candidates as {rendered(models['int_audiences__candidates'], as_of)}")
    return connection


def test_a_tag_expires_on_the_day_its_validity_ends(tmp_path: Path, project: Project) -> None:
    connection = build_small(small_project(tmp_path, project))
    found = connection.execute(
        "select user_id, expires_at from user_tags where tag = 'recent' order by 1"
    ).fetchall()
    # 21 June + 10 days lies after 30 June, 20 June + 10 days does not; without a day there is nothing to expire.
    assert found == [
        ("u1", dt.datetime(2026, 6, 30, 16)),
        ("u4", dt.datetime(2026, 7, 9, 16)),
        ("u5", None),
    ]


def test_the_limit_keeps_the_best_of_those_not_left_out(tmp_path: Path, project: Project) -> None:
    connection = build_small(small_project(tmp_path, project))
    found = connection.execute(
        "select user_id, suppressed_by, is_member from candidates order by 1"
    ).fetchall()
    # By amount, then the earlier day; unknown amounts last.
    assert found == [
        ("u1", None, True),
        ("u2", None, True),
        ("u3", "or", False),
        ("u4", None, False),
        ("u5", None, True),
        ("u6", None, False),
    ]
    assert connection.execute("select user_id from user_tags where tag = 'order'").fetchall() == [("u6",)]


@pytest.mark.parametrize(("as_of", "members"), [(dt.date(2026, 7, 1), 3), (dt.date(2026, 7, 2), 0)])
def test_an_audience_has_members_until_its_last_day(
    tmp_path: Path, project: Project, as_of: dt.date, members: int
) -> None:
    connection = build_small(small_project(tmp_path, project), as_of)
    assert connection.execute("select count(*) from candidates where is_member").fetchone() == (members,)


def test_hostile_text_stays_text(tmp_path: Path, project: Project) -> None:
    files = compile_specs(small_project(tmp_path, project))
    exposures = yaml.safe_load(files["dbt_project/models/marts/audiences/_audiences__exposures.yml"])[
        "exposures"
    ]
    assert exposures[0]["owner"] == {"name": 'crm"'}
    assert exposures[0]["description"] == "春' · a: b # 'c' \"d\""
    rows = list(csv.DictReader(io.StringIO(files["seeds/catalog/catalog_tag_definitions.csv"])))
    assert rows[0]["description"] == "'; drop table user_wide; --"
    for path, text in files.items():
        if path.endswith(".json"):
            json.loads(text)


def test_a_project_without_specs_keeps_its_marts_empty(tmp_path: Path, project: Project) -> None:
    (tmp_path / "dbt_project").mkdir()
    connection = build_small(load_project(tmp_path / "dbt_project", columns=project.columns))
    for table in ("user_tags", "tag_coverage", "candidates"):
        assert connection.execute(f"select count(*) from {table}").fetchone() == (0,)


def test_stale_and_left_over_files_are_found(tmp_path: Path, project: Project) -> None:
    files = compile_specs(small_project(tmp_path, project))
    assert check(files, tmp_path) == sorted(files)
    assert write(files, tmp_path) == sorted(files)
    assert check(files, tmp_path) == []
    assert write(files, tmp_path) == []
    changed = "dbt_project/models/marts/tags/user_tags.sql"
    (tmp_path / changed).write_text("select 1")
    left = "dbt_project/models/intermediate/tags/old.sql"
    (tmp_path / left).write_text(files[changed])
    own = tmp_path / "dbt_project/models/marts/tags/own.sql"
    own.write_text("select 1 as mine")
    assert check(files, tmp_path) == sorted([changed, left])
    assert write(files, tmp_path) == sorted([changed, left])
    assert own.exists()
    assert not (tmp_path / left).exists()


def test_the_fingerprint_follows_the_specs(tmp_path: Path, project: Project) -> None:
    small_project(tmp_path, project)
    before = specs_fingerprint(tmp_path / "dbt_project")
    assert specs_fingerprint(tmp_path / "dbt_project") == before
    file = tmp_path / "dbt_project/specs/tags/one.yml"
    file.write_text(FAMILY + "\n")
    changed = specs_fingerprint(tmp_path / "dbt_project")
    assert changed != before
    file.rename(file.with_name("two.yml"))
    assert specs_fingerprint(tmp_path / "dbt_project") not in (before, changed)


def test_every_field_of_the_specs_is_in_their_schema(files: dict[str, str]) -> None:
    schema = json.loads(files["dbt_project/specs/schemas/audiences.schema.json"])
    assert schema["properties"]["who"]["$ref"] == "#/$defs/Condition"
    assert schema["properties"]["suppress"]["additionalProperties"] == {"$ref": "#/$defs/Condition"}
    assert set(schema["required"]) == {"audience", "title", "owner", "description", "who"}
    tags = json.loads(files["dbt_project/specs/schemas/tags.schema.json"])
    assert tags["$defs"]["TagSpec"]["properties"]["when"]["$ref"] == "#/$defs/Condition"
    assert (PROJECT_ROOT / "dbt_project/specs/schemas").is_dir()


# --- preview --------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path, project: Project) -> tuple[Home, Project]:
    """A home that published the small project's marts, with what the publisher adds."""
    small = small_project(tmp_path, project)
    home = Home(tmp_path / "home")
    home.published.mkdir(parents=True)
    source = build_small(small)
    definitions = compile_specs(small)
    with duckdb.connect(str(home.marts)) as marts:
        for table in ("user_wide", "user_tags"):
            frame = source.execute(f"select * from {table}")
            columns = ", ".join(f"{d[0]} {d[1]}" for d in frame.description or [])
            rows = frame.fetchall()
            marts.execute(f"create table {table} ({columns})")
            marts.executemany(f"insert into {table} values ({', '.join('?' * len(rows[0]))})", rows)
        marts.execute(f"create table publication as select 'v' as version, date '{AS_OF}' as as_of_date")
        (rule,) = [
            row["rule_hash"]
            for row in csv.DictReader(io.StringIO(definitions["seeds/catalog/catalog_tag_definitions.csv"]))
            if row["tag"] == "order"
        ]
        marts.execute(f"create table tag_definitions as select 'order' as tag, '{rule}' as rule_hash")
        marts.execute("create table audience_definitions as select 'select' as audience")
        marts.execute("""
            create table audience_members as
            select * from (values ('select', 'u1'), ('other', 'u1'), ('other', 'u5'), ('other', 'u6')) as t(audience, user_id)
        """)
        marts.execute("""
            create table user_identities as
            select * from (values ('u1', 'phone'), ('u1', 'phone'), ('u2', 'email'), ('u5', 'phone')) as t(user_id, id_type)
        """)
    return home, small


def held_out(user_id: str, salt: str = "select", buckets: int = 2500) -> bool:
    return int(hashlib.md5(f"{salt}:{user_id}".encode()).hexdigest()[:8], 16) % 10_000 < buckets


def test_a_preview_counts_explains_and_masks(published: tuple[Home, Project]) -> None:
    home, small = published
    before = {file: file.stat().st_mtime_ns for file in home.path.rglob("*")}
    every, tags = load_audiences(small), load_tags(small)
    result = preview(every["select"], home, project=small, tags=tags, every=every)
    out = {user for user in ("u1", "u2", "u5") if held_out(user)}
    assert (result.met, result.suppressed, result.over_limit, result.members) == (6, {"or": 1}, 2, 3)
    assert (result.held_out, result.to_reach) == (len(out), 3 - len(out))
    assert result.published_members == 1
    assert result.reachable == {"phone": len({"u1", "u5"} - out)}
    assert [(o.audience, o.users, round(o.share, 3)) for o in result.overlaps] == [("other", 2, 0.667)]
    assert result.sample_columns == ["user", "net_amount", "city", "tag recent"]
    assert all(row[0].endswith("…") for row in result.sample)
    assert len(result.sample) == result.to_reach
    assert result.notes == []
    assert json.loads(json.dumps(result.to_dict()))["as_of"] == "2026-06-30"
    assert {file: file.stat().st_mtime_ns for file in home.path.rglob("*")} == before


def test_a_file_that_was_never_compiled_can_be_previewed(
    published: tuple[Home, Project], tmp_path: Path
) -> None:
    home, small = published
    draft = tmp_path / "draft.yml"
    draft.write_text(
        BEST.replace("audience: select", "audience: draft")
        .replace(
            "{any: [{tag: order}, {column: orders_count, gte: 1}]}",
            "{all: [{audience: select}, not: {tag: recent}]}",
        )
        .replace("holdout: {percent: 25}\n", "")
    )
    models = small.dbt_dir / "models/marts/core"
    models.mkdir(parents=True)
    contract = DBT_PROJECT_DIR / "models/marts/core/_core__user_wide.yml"
    (models / contract.name).write_text(contract.read_text())
    result = preview_spec(str(draft), home, dbt_dir=small.dbt_dir)
    assert isinstance(result, PreviewResult)
    # Of the three members of `select`, only u2 has no tag `recent` any more.
    assert (result.audience, result.met, result.members, result.published_members) == ("draft", 1, 1, None)
    assert len(result.notes) == 1
    assert "tag recent was declared or changed after the last run" in result.notes[0]


def test_shipped_audiences_can_be_shown(published: tuple[Home, Project]) -> None:
    from rich.console import Console

    home, small = published
    every = load_audiences(small)
    console = Console(record=True, width=120)
    preview(every["select"], home, project=small, tags=load_tags(small), every=every).show(console)
    text = console.export_text()
    assert "left out: or" in text
    assert "members in the published version" in text


@pytest.fixture(scope="module")
def published_specs(
    tmp_path_factory: pytest.TempPathFactory,
    built: duckdb.DuckDBPyConnection,
    project: Project,
    files: dict[str, str],
) -> Home:
    """A home that published everything that shipped specs read."""
    home = Home(tmp_path_factory.mktemp("published") / "home")
    home.published.mkdir(parents=True)
    attributes = ", ".join(
        f"products.{name}" if name == "category_l1" else f"cast(null as varchar) as {name}"
        for name in ATTRIBUTES
    )
    built.execute(f"""
        create or replace view user_activities as
        select int_activity.*, {attributes} from int_activity left join stg_raw__products as products using (product_id)
    """)
    tables = ["user_wide", "user_tags", "tag_coverage", "user_activities", "funnel_users"]
    tables += sorted({segment.table for segment in project.segments.values()})
    csv_file = home.path / "definitions.csv"
    csv_file.write_text(files["seeds/catalog/catalog_tag_definitions.csv"])
    with duckdb.connect(str(home.marts)) as marts:
        for table in tables:
            rows = built.execute(f"select * from {table}").to_arrow_table()
            marts.register("rows", rows)
            marts.execute(f"create table {table} as select * from rows")
            marts.unregister("rows")
        marts.execute(f"create table publication as select date '{AS_OF}' as as_of_date")
        marts.execute(
            f"create table tag_definitions as select * from read_csv('{csv_file}', all_varchar = true)"
        )
        marts.execute("create table audience_definitions (audience varchar)")
        marts.execute("create table audience_members (audience varchar, user_id varchar)")
        marts.execute("create table user_identities (user_id varchar, id_type varchar)")
    return home


def test_a_preview_counts_what_the_build_makes(
    published_specs: Home, built: duckdb.DuckDBPyConnection, project: Project
) -> None:
    tags, every = load_tags(project), load_audiences(project)
    counts = {
        name: (met, members)
        for name, met, members in built.execute(
            "select audience, count(*), count(*) filter (is_member) from int_audiences__candidates group by 1"
        ).fetchall()
    }
    for name, audience in every.items():
        found = preview(audience, published_specs, project=project, tags=tags, every=every)
        assert (found.met, found.members) == counts.get(name, (0, 0)), name
        assert found.notes == []
    assert sum(1 for met, _ in counts.values() if met) >= 8
    coverage = {
        row[0]: row[2:5]
        for row in built.execute("""
        select tag, users_count, set_count, not_set_count, not_evaluable_count from tag_coverage
    """).fetchall()
    }
    assert set(coverage) == set(tags)
    for family in {tag.family.family for tag in tags.values()}:
        result = preview_spec(family, published_specs)
        assert isinstance(result, TagsPreview)
        for tag in result.tags:
            assert (tag.set, tag.not_set, tag.not_evaluable) == coverage[tag.tag], tag.tag
            assert tag.published == tag.set
            assert sum(tag.values.values()) in (0, tag.set)


def test_a_wrong_name_of_a_preview_is_explained(published_specs: Home) -> None:
    sentence = "There is no audience, tag or funnel 'cart_lfet'; did you mean 'cart_left'?"
    with pytest.raises(UsageError, match=re.escape(sentence)):
        preview_spec("cart_lfet", published_specs)


def test_a_name_of_two_kinds_needs_its_file(published_specs: Home) -> None:
    with pytest.raises(UsageError, match="message_response is a name of tags and of funnels; give the path"):
        preview_spec("message_response", published_specs)
    file = DBT_PROJECT_DIR / "specs/funnels/message_response.yml"
    assert isinstance(preview_spec(str(file), published_specs), FunnelPreview)


def test_a_funnel_is_previewed_step_by_step(published_specs: Home, users: list[dict[str, Any]]) -> None:
    result = preview_spec("shop_view_cart_buy", published_specs)
    assert isinstance(result, FunnelPreview)
    (steps,) = result.windows.values()

    def deeds(user: dict[str, Any], name: str) -> list[dt.datetime]:
        return [deed["occurred_at"] for deed in user["_activities"] if deed["activity"] == name]

    week = dt.timedelta(days=7)
    viewed = [user for user in users if deeds(user, "view")]
    carted = [
        user
        for user in viewed
        if any(view <= cart <= view + week for view in deeds(user, "view") for cart in deeds(user, "cart"))
    ]
    bought = [
        user
        for user in carted
        if any(
            view <= cart <= paid <= view + week
            for view in deeds(user, "view")
            for cart in deeds(user, "cart")
            for paid in deeds(user, "order_paid")
        )
    ]
    assert [step.users for step in steps] == [len(viewed), len(carted), len(bought)]
    assert 0 < len(bought) < len(carted) < len(viewed)


def test_previews_can_be_shown(published_specs: Home) -> None:
    from rich.console import Console

    console = Console(record=True, width=160)
    for name in ("taste", "spending_power", "shop_view_cart_buy"):
        result = preview_spec(name, published_specs)
        result.show(console)
        assert json.loads(json.dumps(result.to_dict()))["as_of"] == "2026-06-30"
    text = console.export_text()
    assert "护肤兴趣 · Into skincare (into_skincare)" in text
    assert "have the tag" in text
    assert "of previous" in text


def test_a_rule_that_looks_further_back_than_the_published_activities_says_so(
    published_specs: Home, project: Project, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(published_specs.path, home.path)
    draft = tmp_path / "audiences" / "draft.yml"
    draft.parent.mkdir()
    text = (DBT_PROJECT_DIR / "specs/audiences/new_contacts.yml").read_text()
    head, rest = text.split("who:")[0], text.split("suppress:")[1]
    for condition, is_noted in (("did: view, within_days: 92", True), ("did: view, within_days: 91", False)):
        draft.write_text(f"{head.replace('new_contacts', 'draft')}who: {{{condition}}}\nsuppress:{rest}")
        (home.path / "jingxi.yml").write_text("history: {activity_days: 91}\n")
        notes = preview_spec(str(draft), home).notes  # type: ignore[union-attr]
        assert bool(notes) == is_noted
        assert not notes or "activities before" in notes[0]
