"""Readers while the publisher works, and while it is killed: one whole version per session, no error."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from orchestration.errors import JingxiError, UsageError
from orchestration.home import Home
from orchestration.publishing.publish import publish, published_as, verify_published
from orchestration.publishing.queries import open_query, query, write_csv
from orchestration.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings.model_validate({"publish": {"keep_versions": 2}})
DAY = dt.date(2026, 6, 30)
ROWS = 3_000

# Each session: connect, read the version and a stamp from two marts, say what was seen.
READER = """
import json, sys, time, duckdb
import pathlib
folder, stop, expected_rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen, sessions = [], 0
while not pathlib.Path(stop).exists():
    connection = duckdb.connect(folder + "/marts.duckdb", read_only=True, config={"threads": 1})
    version = connection.execute("select version, input_hash from publication").fetchone()
    stamps = connection.execute(
        "select distinct stamp from (select stamp from user_wide union all select stamp from user_tags)").fetchall()
    rows = connection.execute("select count(*) from user_wide").fetchone()[0]
    again = connection.execute("select version, input_hash from publication").fetchone()
    connection.close()
    assert version == again, (version, again)
    assert stamps == [(version[1],)], (version, stamps)
    assert rows == expected_rows, rows
    if not seen or seen[-1] != version[0]:
        seen.append(version[0])
    sessions += 1
    time.sleep(0.01)
print(json.dumps([sessions, seen]))
"""

# Reads only what the manifest names, as a reader of Parquet does.
PARQUET_READER = """
import json, sys, time, duckdb, pathlib
folder, stop = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
seen, sessions = [], 0
while not stop.exists():
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {mart["name"]: str(folder / mart["parquet"]) for mart in manifest["marts"]}
    stamps = duckdb.sql(
        f"select distinct stamp from (select stamp from '{files['user_wide']}' union all select stamp from '{files['user_tags']}')"
    ).fetchall()
    assert stamps == [(manifest["input_hash"],)], (stamps, manifest["input_hash"])
    if not seen or seen[-1] != manifest["version"]:
        seen.append(manifest["version"])
    sessions += 1
    time.sleep(0.01)
print(json.dumps([sessions, seen]))
"""

# Reads marts and identifiers together, as `jingxi user` and exports do.
PAIR_READER = """
import json, sys, time, pathlib
from orchestration.home import Home
from orchestration.publishing.pair import open_pair
from orchestration.settings import Settings
home, stop = Home(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
seen, sessions = [], 0
while not stop.exists():
    with open_pair(home, Settings(), then="ask") as (session, publication):
        stamps = session.execute(
            "select distinct stamp from (select stamp from marts.main.user_wide "
            "union all select stamp from private.main.user_identifiers)").fetchall()
    assert stamps == [(publication.input_hash,)], (stamps, publication)
    if not seen or seen[-1] != publication.version:
        seen.append(publication.version)
    sessions += 1
    time.sleep(0.01)
print(json.dumps([sessions, seen]))
"""

# Publishes a new stamp again and again until it is killed.
PUBLISHER = """
import sys
from pathlib import Path
from tests.integration.test_readers import DAY, SETTINGS, Home, publish, stamp
home = Home(Path(sys.argv[1]))
number = int(sys.argv[2])
print("ready", flush=True)
while True:
    stamp(home, f"h{number}")
    publish(home, SETTINGS, as_of=DAY, input_hash=f"h{number}", by_date={})
    number += 1
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    stamp(home, "h0")
    put(home, "h0")
    return home


def stamp(home: Home, text: str) -> None:
    """A warehouse whose every row says which build it is of."""
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("create schema if not exists marts; create schema if not exists private")
        for table in ("user_wide", "user_tags"):
            connection.execute(
                f"create or replace table marts.{table} (user_id varchar not null, stamp varchar not null)"
            )
            connection.execute(
                f"insert into marts.{table} select 'u' || i, ? from range({ROWS}) as t(i)", [text]
            )
        connection.execute(
            "create or replace table private.user_identifiers (user_id varchar, stamp varchar)"
        )
        connection.execute("insert into private.user_identifiers values ('u1', ?)", [text])


def put(home: Home, input_hash: str) -> None:
    publish(home, SETTINGS, as_of=DAY, input_hash=input_hash, by_date={})


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def finish(readers: list[subprocess.Popen[str]], stop: Path) -> list[tuple[int, list[str]]]:
    """What each reader saw: sessions and versions. Fails when a reader had an error."""
    stop.touch()
    seen = []
    for reader in readers:
        out, err = reader.communicate(timeout=60)
        assert reader.returncode == 0, err[-2000:]
        sessions, versions = json.loads(out)
        seen.append((sessions, versions))
    return seen


@pytest.mark.parametrize("publications", [12, pytest.param(100, marks=pytest.mark.long)])
def test_readers_see_one_whole_version_per_session(home: Home, tmp_path: Path, publications: int) -> None:
    stop = tmp_path / "stop"
    readers = [start(READER, home.published, stop, ROWS) for _ in range(2)]
    readers.append(start(PARQUET_READER, home.published, stop))
    time.sleep(0.5)
    for number in range(1, publications + 1):
        stamp(home, f"h{number}")
        put(home, f"h{number}")
    for sessions, versions in finish(readers, stop):
        assert sessions > 5
        assert len(versions) > 3
        assert versions == sorted(set(versions))


def test_readers_of_marts_and_identifiers_see_one_version_of_both(home: Home, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    reader = start(PAIR_READER, home.path, stop)
    time.sleep(0.5)
    for number in range(1, 7):
        stamp(home, f"h{number}")
        put(home, f"h{number}")
    ((sessions, versions),) = finish([reader], stop)
    assert sessions > 1
    assert versions == sorted(set(versions))


def test_a_held_connection_keeps_its_version(home: Home) -> None:
    with duckdb.connect(":memory:") as held:
        held.execute(f"attach '{home.marts}' as marts (read_only)")
        for number in range(1, 4):
            stamp(home, f"h{number}")
            put(home, f"h{number}")
            assert held.execute("select distinct stamp from marts.user_wide").fetchall() == [("h0",)]
            assert query(home, "select distinct stamp from user_wide").rows == [(f"h{number}",)]


@pytest.mark.parametrize("kills", [6, pytest.param(40, marks=pytest.mark.long)])
def test_killed_publications_show_old_or_new_and_leave_nothing(
    home: Home, tmp_path: Path, kills: int
) -> None:
    stop = tmp_path / "stop"
    readers = [start(READER, home.published, stop, ROWS)]
    moments = random.Random(7)
    number = 1
    for _ in range(kills):
        publisher = start(PUBLISHER, home.path, number)
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.0, 0.6))
        publisher.send_signal(signal.SIGKILL)
        publisher.communicate()
        published = published_as(home)
        assert published is not None
        shown = query(home, "select distinct stamp from (from user_wide union all from user_tags)").rows
        assert shown == [(published[1],)]
        number = int(published[1].removeprefix("h")) + 1
    stamp(home, "last")
    put(home, "last")
    finish(readers, stop)
    assert published_as(home) == (DAY, "last")
    assert verify_published(home) == []
    assert {path.name for path in home.published.iterdir()} == {
        "manifest.json",
        "marts.duckdb",
        "parquet",
        "private.duckdb",
    }
    kept = json.loads(home.publication_manifest.read_text())["kept_versions"]
    assert sorted(path.name for path in (home.published / "parquet").iterdir()) == kept


def test_questions_are_answered_from_the_marts(home: Home, tmp_path: Path) -> None:
    assert query(home, "select count(*) as users from user_wide") == (["users"], [(ROWS,)])
    assert query(home, "select count(*) from marts.user_wide").rows == [(ROWS,)]
    assert query(home, "with x as (select 1 as a) from x").rows == [(1,)]
    assert query(home, "describe user_wide").rows[0][:2] == ("user_id", "VARCHAR")
    assert ("user_tags",) in query(home, "show tables").rows
    with open_query(home, "select user_id from user_wide") as cursor:
        assert [len(batch) for batch in cursor.batches(2_000)] == [2_000, 1_000]
    file = tmp_path / "answer.csv"
    with file.open("w") as handle:
        assert write_csv(home, "select user_id, null as n from user_wide order by 1 limit 2", handle) == 2
    assert file.read_text() == "user_id,n\nu0,\nu1,\n"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select 1; select 2", "one statement"),
        ("", "Write one question"),
        ("select from where", "cannot be read"),
        ("delete from user_wide", "Only reading"),
        ("create table x (a int)", "Only reading"),
        ("attach 'x.duckdb'", "Only reading"),
        ("copy user_wide to 'x.csv'", "Only reading"),
        ("set memory_limit = '1TB'", "Only reading"),
        ("install excel", "Only reading"),
        ("call pragma_version()", "Only reading"),
        ("select * from read_csv('/etc/passwd')", "no files"),
        ("select * from glob('/*')", "no files"),
        ("from '/etc/passwd.csv'", "no files"),
        ("select nothing from user_wide", "does not fit the marts"),
        ("from user_wides", "Did you mean"),
    ],
)
def test_questions_that_do_more_than_read_are_refused(home: Home, sql: str, words: str) -> None:
    before = home.marts.stat()
    with pytest.raises(UsageError, match=words):
        query(home, sql)
    assert home.marts.stat().st_mtime_ns == before.st_mtime_ns


def test_nothing_published_is_said(tmp_path: Path) -> None:
    with pytest.raises(JingxiError, match="Nothing is published"):
        query(Home(tmp_path / "none"), "select 1")
