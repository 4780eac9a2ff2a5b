"""Benchmark: rules of marketers on a million users with sixty tags, and the compile of five hundred specs.

    python -m tests.benchmarks --only rules

An audience of five conditions (two on columns, two on tags, one on what people did) is previewed on published marts
against the same filter written by hand on one wide table that holds the tags as columns and the activities counted; a
preview also joins the tags, counts the activities, the overlaps and the sample, so its goal is a second. The same
audience is built from the compiled statement, goal: at most twice the hand-written filter. Five hundred specs are read,
checked and compiled against PyYAML's reading of the same files; the goal is two seconds.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import yaml

from orchestration.home import DBT_PROJECT_DIR, Home
from orchestration.specs.audience_sql import audience_cte, cte
from orchestration.specs.compiler import compile_specs
from orchestration.specs.kinds import Project
from orchestration.specs.loader import load_audiences, load_project, load_tags
from orchestration.specs.preview import preview
from orchestration.specs.published import open_marts
from tests.benchmarks.results import Measured

TAGS = 60
_FAMILY = """\
family: bench
title: {zh: 一, en: One}
category: interest
owner: crm
tags:
"""
_TAG = """\
  - tag: tag_{n}
    title: {{zh: 一, en: One}}
    description: One of many.
    when: {{column: orders_count, gte: {n}}}
"""
_AUDIENCE = """\
audience: bench
title: {zh: 一, en: One}
owner: crm
description: Five conditions.
who:
  all:
    - {column: orders_count, gte: 2}
    - {column: days_since_order, between: [30, 180]}
    - {tag: tag_1}
    - not: {tag: tag_2}
    - {did: cart, at_least: 2, within_days: 90}
"""


def _project(folder: Path) -> Project:
    dbt_dir = folder / "dbt_project"
    for kind, name, text in (
        ("tags", "bench", _FAMILY + "".join(_TAG.format(n=n) for n in range(1, TAGS + 1))),
        ("audiences", "bench", _AUDIENCE),
    ):
        file = dbt_dir / "specs" / kind / f"{name}.yml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    shutil.copytree(DBT_PROJECT_DIR.parent / "seeds", folder / "seeds")
    return load_project(dbt_dir, columns=load_project().columns)


def _publish(home: Home, project: Project, users: int) -> None:
    """Marts of random users, a quarter of whom have each tag and who did ten things each."""
    home.published.mkdir(parents=True)
    home.settings_file.write_text("")
    some = {
        "user_id": "md5(n::varchar)",
        "orders_count": "hash(n, 1) % 6",
        "days_since_order": "hash(n, 2) % 365",
    }
    columns = ", ".join(
        f"cast({some.get(column.name, 'null')} as {column.sql_type}) as {column.name}"
        for column in project.columns.values()
    )
    did = "['view', 'cart', 'order_paid', 'read', 'search'][(1 + hash(n, k, 4) % 5)::int]"
    with duckdb.connect(str(home.marts)) as marts:
        marts.execute(
            f"create table user_wide as select {columns} from range({users}) as t(n) order by user_id"
        )
        marts.execute(f"""
            create table user_tags as
            select md5(n::varchar) as user_id, 'tag_' || k as tag, 'true' as value
            from range({users}) as t(n), range(1, {TAGS + 1}) as s(k) where hash(n, k, 3) % 4 = 0 order by user_id, tag
        """)
        marts.execute(f"""
            create table user_activities as
            select md5(n::varchar) as user_id, {did} as activity,
                timestamp '2026-06-30' - to_seconds((hash(n, k, 5) % 34560000)::bigint) as occurred_at,
                cast(occurred_at as date) as activity_date
            from range({users}) as t(n), range(10) as s(k) order by user_id, activity
        """)
        marts.execute("create table publication as select date '2026-06-30' as as_of_date")
        rules = ", ".join(f"('{tag.code}', '{tag.rule_hash}')" for tag in load_tags(project).values())
        marts.execute(f"create table tag_definitions as select * from (values {rules}) as t(tag, rule_hash)")
        marts.execute("create table audience_definitions (audience varchar)")
        marts.execute("create table audience_members (audience varchar, user_id varchar)")
        marts.execute("create table user_identities (user_id varchar, id_type varchar)")


def _best(work: Callable[[], object], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _audience(folder: Path, users: int) -> list[Measured]:
    project, home = _project(folder), Home(folder / "home")
    _publish(home, project, users)
    tags, every = load_tags(project), load_audiences(project)
    audience = every["bench"]
    previewed = _best(lambda: preview(audience, home, project=project, tags=tags, every=every))
    expected = preview(audience, home, project=project, tags=tags, every=every).members
    with open_marts(home, project) as marts, duckdb.connect() as session:
        session.execute("set TimeZone = 'UTC'")
        session.execute(f"attach '{home.marts}' as marts (read_only)")
        session.execute("set search_path = 'marts.main,memory.main'")
        # What the warehouse has before audiences are built: tags as columns, activities counted.
        session.execute(
            f"create table memory.main.users as with {marts.users(audience.rules, audience.columns, audience.tags, tags)} "
            "select * from users"
        )
        session.execute("set search_path = 'memory.main'")
        counted = next(
            name
            for (name,) in session.execute(
                "select column_name from duckdb_columns() where table_name = 'users'"
            ).fetchall()
            if name.startswith("event__")
        )
        by_hand = f"""
            create or replace table found as select user_id from users
            where orders_count >= 2 and days_since_order between 30 and 180 and tag__tag_1
                and tag__tag_2 is null and {counted}
        """
        compiled = (
            f"create or replace table built as with {audience_cte(audience, tags, marts.days)} "
            f"select * from {cte(audience.name)} where is_member"
        )
        hand, built = _best(lambda: session.execute(by_hand)), _best(lambda: session.execute(compiled))
        sizes = [session.execute(f"select count(*) from {table}").fetchone() for table in ("found", "built")]
        assert sizes == [(expected,), (expected,)], (sizes, expected)
    what = f"{users:,} users × {TAGS} tags"
    return [
        Measured(f"preview of an audience of 5 conditions, {what}", "a second", previewed, previewed, 1.0),
        Measured(
            f"audience of 5 conditions built, {what}", "the filter written by hand", built, built / hand, 2.0
        ),
    ]


def _compile(folder: Path, specs: int) -> Measured:
    dbt_dir = folder / "dbt_project"
    shutil.copytree(DBT_PROJECT_DIR / "specs", dbt_dir / "specs")
    shutil.copytree(DBT_PROJECT_DIR / "models", dbt_dir / "models", ignore=shutil.ignore_patterns("*.sql"))
    shutil.copytree(DBT_PROJECT_DIR.parent / "seeds", folder / "seeds")
    text = (dbt_dir / "specs/audiences/new_contacts.yml").read_text()
    head, rest = text.split("who:")[0], text.split("suppress:")[1]
    conditions = (
        "{{did: cart, at_least: {n}, within_days: 30}}",
        "{{all: [{{column: orders_count, gte: 2}}, {{column: days_since_order, between: [{n}, 600]}}, {{tag: coupon_user}}]}}",
        "{{sequence: [view, cart], max_days_apart: {n}, within_days: 400}}",
        "{{most_frequent: brand, of: view, within_days: {n}, eq: a}}",
    )
    there = len(list(dbt_dir.glob("specs/*/*.yml")))
    for n in range(1, specs - there + 1):
        who = conditions[n % len(conditions)].format(n=n)
        file = dbt_dir / "specs/audiences" / f"many_{n}.yml"
        file.write_text(f"{head.replace('new_contacts', f'many_{n}')}who: {who}\n\nsuppress:{rest}")
    files = sorted(dbt_dir.glob("specs/*/*.yml"))
    compiled = _best(lambda: compile_specs(load_project(dbt_dir)))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read = _best(lambda: [yaml.load(file.read_bytes(), Loader=loader) for file in files])
    sentence = f"{len(files)} specs read, checked and compiled in {compiled:.1f} s (wanted: 2 s)"
    return Measured(sentence, "PyYAML reads the same files", compiled, compiled / read)


def measure(*, small: bool) -> list[Measured]:
    """Preview, build and compile."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        return [
            *_audience(Path(one), 50_000 if small else 1_000_000),
            _compile(Path(two), 100 if small else 500),
        ]
