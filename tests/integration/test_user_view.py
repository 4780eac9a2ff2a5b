"""One user in one look: `jingxi user` on a published brand."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.cells import cell_len

from orchestration.errors import JingxiError, UsageError
from orchestration.home import Home
from orchestration.publishing.profile import Question, UserProfile, user_profile
from orchestration.settings import Settings
from tests.command import EXECUTABLE, environment, jingxi

SETTINGS = Settings()


@pytest.fixture(scope="module")
def session(small_home: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for name in ("marts", "private"):
        connection.execute(f"attach '{small_home}/published/{name}.duckdb' as {name} (read_only)")
    return connection


@pytest.fixture(scope="module")
def busiest(session: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Identifiers by kind of a buyer with phone and member number who does much."""
    rows = session.execute("""
        select id_type, min(id), any_value(user_id)
        from private.user_identifiers
        where user_id = (
            select user_id from marts.user_wide
            where has_phone and is_member and is_contact and orders_count > 2 and touches_opened_count_90d > 0
            order by events_count_30d desc, user_id limit 1)
        group by id_type
    """).fetchall()
    return {id_type: id_ for id_type, id_, _ in rows} | {"user_id": rows[0][2]}


def look(home: Path, identifier: str, **more: Any) -> UserProfile:
    return user_profile(Question(identifier, **more), Home(home), SETTINGS)


def test_a_user_is_found_by_each_identifier_as_people_write_it(
    small_home: Path, busiest: dict[str, str]
) -> None:
    phone = busiest["phone"]
    for typed in (*busiest.values(), f"+86 {phone[:3]}-{phone[3:7]}-{phone[7:]}\n"):
        assert look(small_home, typed).user_id == busiest["user_id"]
    assert look(small_home, phone, id_type="phone").found_as == ("phone",)


def test_identifiers_are_found_as_they_were_written_in_the_input(small_home: Path) -> None:
    """What identity made of each way to write an identifier is what the look-up makes of it."""
    with duckdb.connect(str(small_home / "warehouse" / "warehouse.duckdb"), read_only=True) as warehouse:
        written = warehouse.execute("""
            select lookup.id_type, lookup.id, lookup.user_id
            from intermediate.int_identity__lookup as lookup
            order by lookup.id_type <> 'phone', md5(lookup.id)
            limit 40
        """).fetchall()
    assert len(written) == 40
    for id_type, typed, user_id in written:
        assert look(small_home, typed, id_type=id_type.strip().lower()).user_id == user_id


def test_the_profile_says_what_the_marts_say(
    small_home: Path, session: duckdb.DuckDBPyConnection, busiest: dict[str, str]
) -> None:
    profile = look(small_home, busiest["phone"])
    user = [profile.user_id]
    description = session.execute("select * from marts.user_wide where user_id = ?", user)
    wide = dict(zip([c[0] for c in description.description or ()], description.fetchall()[0], strict=True))
    shown = {fact.column: fact.value for family in profile.families for fact in family.facts}
    known = {column for column, value in wide.items() if value is not None}
    assert set(shown) == known - {"user_id", "as_of_date"}
    assert [family.name for family in profile.families] == [
        "who",
        "acquisition",
        "relation",
        "behaviour",
        "spending",
        "response",
        "referral",
        "stage",
    ]
    tags = session.execute("select tag, value from marts.user_tags where user_id = ?", user).fetchall()
    assert sorted((tag.tag, tag.value) for tag in profile.tags) == sorted(tags)
    for tag in profile.tags:
        assert tag.why, tag.tag
        assert all(reason.holds for reason in tag.why)
    timeline = session.execute(
        "select count(*) filter (touch_id is null), count(distinct touch_id) from marts.user_timeline where user_id = ?",
        user,
    ).fetchall()
    assert (len(profile.timeline), len(profile.touches)) == timeline[0]
    moments = [entry.at for entry in profile.timeline]
    assert moments == sorted(moments, reverse=True)
    assert profile.rfm is not None
    assert profile.rfm.cell == wide["rfm_cell"]
    means = session.execute(
        "select avg(r_score), avg(f_score), avg(m_score) from marts.rfm_segments"
    ).fetchall()
    for part, mean in zip(profile.rfm.parts, means[0], strict=True):
        assert part.against is not None
        assert abs(float(part.against) - mean) < 0.006
        assert part.is_high == (part.score > mean)
    audiences = session.execute(
        "select audience, entered_date, is_holdout from marts.audience_members where user_id = ?", user
    ).fetchall()
    assert sorted((m.audience, m.entered_on, m.is_held_out) for m in profile.audiences) == sorted(audiences)


def test_a_message_has_its_furthest_status(
    small_home: Path, session: duckdb.DuckDBPyConnection, busiest: dict[str, str]
) -> None:
    touches = {touch.touch_id: touch for touch in look(small_home, busiest["phone"]).touches}
    opened = {
        row[0]
        for row in session.execute(
            "select touch_id from marts.user_timeline where user_id = ? and activity = 'touch_opened'",
            [busiest["user_id"]],
        ).fetchall()
    }
    assert opened
    for touch_id, touch in touches.items():
        assert touch.status in touch.reached
        assert ("opened" in touch.reached) == (touch_id in opened)
        if touch_id in opened:
            assert touch.status in ("opened", "clicked", "replied", "converted", "unsubscribed")


def test_why_agrees_with_membership(small_home: Path, session: duckdb.DuckDBPyConnection) -> None:
    """For members and for others: who meets the rule and is not left out is a member (no limit is reached here)."""
    audiences = [
        row[0] for row in session.execute("select audience from marts.audience_definitions").fetchall()
    ]
    users = [
        row[0]
        for row in session.execute("""
            (select user_id from marts.audience_members order by md5(user_id || audience) limit 6)
            union (select user_id from marts.user_wide where is_blocked limit 2)
            union (select user_id from marts.user_wide order by md5(user_id) limit 4)
        """).fetchall()
    ]
    seen = set()
    for position, user in enumerate(users):
        for audience in audiences[position % 2 :: 2]:
            why = look(small_home, user, why=audience).why
            assert why is not None
            fits = why.meets.holds and not any(rule.holds for _, rule in why.suppressed)
            assert fits == why.is_member, (user, audience)
            seen.add(why.is_member)
    assert seen == {True, False}


def test_nothing_personal_is_shown_unless_asked_for(
    small_home: Path, session: duckdb.DuckDBPyConnection, busiest: dict[str, str]
) -> None:
    user = busiest["user_id"]
    personal = [
        str(row[0])
        for row in session.execute(
            "select id from private.user_identifiers where user_id = $1 "
            "union all select name from private.user_names where user_id = $1",
            [user],
        ).fetchall()
    ]
    for arguments in ([], ["--json"], ["--all", "--why", "second_order"]):
        out = jingxi("user", busiest["phone"], "--home", small_home, *arguments).out
        assert not [value for value in personal if value in out]
        assert user in out
    shown = jingxi("user", busiest["phone"], "--home", small_home, "--show-identifiers").out
    assert all(value in shown for value in personal)


@pytest.mark.parametrize("columns", [80, 160])
def test_it_fits_the_terminal(small_home: Path, busiest: dict[str, str], columns: int) -> None:
    process = subprocess.run(
        [EXECUTABLE, "user", "-", "--home", small_home, "--why", "important_winback", "--all"],
        env={**environment(), "COLUMNS": str(columns)},
        input=f"{busiest['member_id']}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert busiest["member_id"] not in process.stdout
    assert max(cell_len(line.rstrip()) for line in process.stdout.splitlines()) <= columns
    for section in ("Profile", "Tags", "Segments", "Timeline", "Messages", "Why not in", "mean score"):
        assert section in process.stdout
    # No word is cut off, and nothing of the machine shows.
    assert not re.search(r"\w…", process.stdout)
    assert "None" not in process.stdout
    assert "Decimal" not in process.stdout


def test_who_is_not_there_is_said_without_the_identifier(small_home: Path) -> None:
    outcome = jingxi("user", "13912345678", "--home", small_home, status=1)
    assert outcome.err == "jingxi: Nobody has this identifier as of 2026-06-30.\n"
    assert outcome.out == ""
    for arguments in (["13912345678", "--type", "fax"], ["13912345678", "--why", "nobody"], [" "]):
        outcome = jingxi("user", *arguments, "--home", small_home, status=2)
        assert "13912345678" not in outcome.err
        assert len(outcome.err.splitlines()) == 1
    logs = [file for file in (small_home / "logs").rglob("*") if file.is_file()]
    assert logs
    assert not [file for file in logs if "13912345678" in file.read_text(errors="replace")]


def test_json_holds_the_reasons(small_home: Path, busiest: dict[str, str]) -> None:
    profile = jingxi(
        "user", busiest["user_id"], "--home", small_home, "--json", "--why", "important_winback"
    ).json
    assert profile["user_id"] == busiest["user_id"]
    assert {leaf["subject"] for leaf in profile["why"]["meets"]["parts"]} == {"rfm_cell", "days_since_order"}
    assert json.dumps(profile)


def test_a_home_without_a_publication_says_so(tmp_path: Path) -> None:
    with pytest.raises(JingxiError, match="Nothing is published"):
        look(tmp_path, "x")
    with pytest.raises(UsageError, match="empty"):
        look(tmp_path, "  ")
    assert list(tmp_path.iterdir()) == []
