"""A waterfall shares out the users: the compiled SQL against the same rule in plain Python."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb

from orchestration.specs.audience_sql import audience_cte, cte
from orchestration.specs.audiences import Audience
from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.loader import load_audiences, load_project

COLUMNS = {
    column.name: column
    for column in (
        Column("user_id", ValueType.TEXT, "varchar", ""),
        Column("score", ValueType.NUMBER, "bigint", ""),
        Column("is_blocked", ValueType.BOOLEAN, "boolean", ""),
    )
}
SPEC = """\
audience: {name}
title: {{zh: 名, en: Name}}
owner: crm
description: A test.
who: {{column: score, gte: {least}}}
suppress:
  blocked: {{column: is_blocked, eq: true}}
{more}"""
# The best placed one is not the first in the alphabet; `free` is in no group, `other` alone in its own.
SPECS = {
    "second": (20, "limit: 3\nrank_by: [{column: score}]\nwaterfall: {group: push, priority: 2}\n"),
    "best": (70, "limit: 5\nrank_by: [{column: score}]\nwaterfall: {group: push, priority: 1}\n"),
    "last": (0, "waterfall: {group: push, priority: 30}\n"),
    "other": (40, "waterfall: {group: mail, priority: 1}\n"),
    "free": (50, ""),
}


def declared(folder: Path) -> dict[str, Audience]:
    for name, (least, more) in SPECS.items():
        file = folder / f"dbt_project/specs/audiences/{name}.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SPEC.format(name=name, least=least, more=more))
    return load_audiences(load_project(folder / "dbt_project", columns=COLUMNS))


def test_better_placed_audiences_come_first_and_say_so(tmp_path: Path) -> None:
    audiences = declared(tmp_path)
    assert list(audiences).index("best") < list(audiences).index("second") < list(audiences).index("last")
    assert [reason for reason, _ in audiences["last"].suppress] == [
        "blocked",
        "placed_in_best",
        "placed_in_second",
    ]
    assert "without placed_in_best: in audience best" in audiences["second"].definition
    assert [reason for reason, _ in audiences["other"].suppress] == ["blocked"]
    assert audiences["other"].audiences == audiences["free"].audiences == set()


def test_a_user_sits_in_the_best_list_that_has_room(tmp_path: Path) -> None:
    audiences = declared(tmp_path)
    chance = random.Random(7)
    users = [(f"u{n:02}", chance.randint(0, 99), chance.random() < 0.2) for n in range(60)]
    with duckdb.connect() as connection:
        connection.execute("create table users(user_id varchar, score bigint, is_blocked boolean)")
        connection.executemany("insert into users values (?, ?, ?)", users)
        ctes = ",\n".join(audience_cte(audience, {}) for audience in audiences.values())
        union = " union all ".join(
            f"select '{name}' as audience, user_id, suppressed_by, is_member from {cte(name)}"
            for name in audiences
        )
        found = {
            (audience, user): (why, is_member)
            for audience, user, why, is_member in connection.execute(f"with {ctes} {union}").fetchall()
        }

    expected: dict[tuple[str, str], tuple[str | None, bool]] = {}
    taken: dict[str, str] = {}
    for name in ("best", "second", "last"):
        least, room = SPECS[name][0], {"best": 5, "second": 3}.get(name, len(users))
        free = [
            user for user in users if user[1] >= least and not user[2] and taken.get(user[0], name) == name
        ]
        members = {user[0] for user in sorted(free, key=lambda user: (-user[1], user[0]))[:room]}
        for user, score, is_blocked in users:
            if score >= least:
                why = "blocked" if is_blocked else f"placed_in_{taken[user]}" if user in taken else None
                expected[name, user] = (why, user in members)
        taken |= dict.fromkeys(members, name)
    for name in ("other", "free"):
        for user, score, is_blocked in users:
            if score >= SPECS[name][0]:
                expected[name, user] = ("blocked" if is_blocked else None, not is_blocked)
    assert found == expected
    # The rule bites: somebody over the first limit sits in the second list, somebody over both in the last one.
    assert len(taken) == sum(not is_blocked for *_, is_blocked in users)
    assert sorted(taken.values()).count("best") == 5
    assert sorted(taken.values()).count("second") == 3
