"""A real PostgreSQL: upsert and mirror in one transaction, types, rights."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestration.destinations.errors import (
    BatchRefused,
    ConfigurationError,
    DestinationError,
    OutcomeUnknown,
    PermissionDenied,
)
from orchestration.destinations.protocol import Accepted, Destination, Record
from tests.fakes.postgres import running_postgres
from tests.unit.destination_support import batch_of, build_in, record, run_of

FIELDS = ("name", "spent", "seen_on", "vip", "facts")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_postgres() as own:
        yield own


@pytest.fixture
def database(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    monkeypatch.setenv("PG_URL", url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop schema if exists crm cascade")
        connection.execute("create schema crm")
        connection.execute(
            "create table crm.people (id bigint primary key, name varchar(5) not null, spent numeric(8, 2), "
            "seen_on date, vip boolean, facts jsonb, theirs text default 'kept')"
        )
        yield connection


@pytest.fixture
def table(tmp_path: Path, database: psycopg.Connection) -> Destination:
    return build_in(tmp_path, "postgres", url={"env": "PG_URL"}, schema="crm", table="people", key="id")


def person(number: int, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "name": "王",
        "spent": 12.5,
        "seen_on": "2026-01-31",
        "vip": True,
        "facts": {"a": [1]},
    }
    return record(str(number), {**fields, **changes})


def push(table: Destination, *records: Record, fields: tuple[str, ...] = FIELDS, **run: Any) -> Any:
    session = table.open(run_of(fields, **run))
    try:
        outcomes = session.send(batch_of(records))
        session.finish()
        return outcomes
    finally:
        session.close()


def rows(database: psycopg.Connection, what: str = "id, name") -> list[Any]:
    return database.execute(f"select {what} from crm.people order by id").fetchall()


def test_values_arrive_in_the_columns_types(table: Destination, database: psycopg.Connection) -> None:
    assert push(table, person(1), person(2, name="'; --", spent=None, facts=None)) == [Accepted()] * 2
    assert rows(database, "id, name, spent::text, seen_on::text, vip, facts, theirs") == [
        (1, "王", "12.50", "2026-01-31", True, {"a": [1]}, "kept"),
        (2, "'; --", None, "2026-01-31", True, None, "kept"),
    ]
    push(table, person(1, name="李"))
    assert rows(database) == [(1, "李"), (2, "'; --")]


@pytest.mark.parametrize(
    "bad",
    [
        person(9, name="too long"),
        person(9, name=None),
        person(9, spent="much"),
        person(9, seen_on="yesterday-ish"),
        record("x", {}),
        record("1\x00", {"name": "a"}),
    ],
)
def test_a_value_that_does_not_fit_refuses_its_batch_and_only_that(
    table: Destination, database: psycopg.Connection, bad: Record
) -> None:
    session = table.open(run_of(FIELDS))
    assert session.send(batch_of([person(1)])) == [Accepted()]
    with pytest.raises(BatchRefused) as told:
        session.send(batch_of([person(2), bad]))
    assert "too long" not in str(told.value)
    assert session.send(batch_of([person(2)])) == [Accepted()]
    session.finish()
    session.close()
    assert [row[0] for row in rows(database)] == [1, 2]


def test_readers_see_all_or_nothing(table: Destination, database: psycopg.Connection, url: str) -> None:
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        with psycopg.connect(url, autocommit=True) as reader:
            while not done.is_set():
                row = reader.execute("select count(*) from crm.people").fetchone()
                seen.add(int(row[0]) if row else -1)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        session = table.open(run_of(("name",)))
        for start in range(0, 20_000, 5_000):
            session.send(batch_of([record(str(n), {"name": "a"}) for n in range(start, start + 5_000)]))
        session.finish()
        session.close()
    finally:
        done.set()
        thread.join()
    assert seen <= {0, 20_000}
    assert len(rows(database)) == 20_000


def test_a_connection_lost_at_the_end_changes_nothing_or_all(
    table: Destination, database: psycopg.Connection
) -> None:
    session = table.open(run_of(("name",)))
    session.send(batch_of([record(str(n), {"name": "a"}) for n in range(10)]))
    database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'jingxi'"
    )
    with pytest.raises(OutcomeUnknown):
        session.finish()
    session.close()
    assert rows(database) == []
    push(table, *[record(str(n), {"name": "a"}) for n in range(10)], fields=("name",))
    assert len(rows(database)) == 10


def test_a_mirror_removes_only_what_it_inserted(table: Destination, database: psycopg.Connection) -> None:
    database.execute("insert into crm.people (id, name) values (1, 'old'), (2, 'old')")
    push(table, person(2), person(3), person(4), mode="mirror")
    gone = [record(str(n), {}, "remove") for n in (1, 2, 3)]
    assert push(table, *gone, mode="mirror") == [Accepted()] * 3
    assert [row[0] for row in rows(database)] == [1, 2, 4], "1 and 2 were there before"


def test_what_another_line_also_sends_stays(table: Destination, database: psycopg.Connection) -> None:
    push(table, person(1), mode="mirror", activation="one")
    database.execute("insert into crm.people_jingxi values ('two', '1')")
    push(table, record("1", {}, "remove"), mode="mirror", activation="one")
    assert [row[0] for row in rows(database)] == [1]
    push(table, record("1", {}, "remove"), mode="mirror", activation="two")
    assert rows(database) == []


def test_two_lines_at_once_do_not_meet_in_the_middle(
    table: Destination, database: psycopg.Connection
) -> None:
    failures: list[Exception] = []

    def work(name: str, order: int) -> None:
        try:
            for _ in range(5):
                numbers = list(range(200))[::order]
                push(
                    table,
                    *[record(str(n), {"name": name[:5]}) for n in numbers],
                    fields=("name",),
                    activation=name,
                )
        except DestinationError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name, order)) for name, order in (("one", 1), ("two", -1))]
    for own in threads:
        own.start()
    for own in threads:
        own.join()
    assert not failures
    assert len(rows(database)) == 200


def test_what_is_wrong_with_the_table_is_told(tmp_path: Path, database: psycopg.Connection) -> None:
    def there(**changes: Any) -> Destination:
        declared = {"url": {"env": "PG_URL"}, "schema": "crm", "table": "people", "key": "id", **changes}
        return build_in(tmp_path, "postgres", **declared)

    there().check()
    for changes, code in (
        ({"table": "nobody"}, "no_such_table"),
        ({"key": "nothing"}, "no_such_column"),
        ({"key": "name"}, "key_not_unique"),
    ):
        with pytest.raises(ConfigurationError, match=code):
            there(**changes).check()
    with pytest.raises(ConfigurationError, match="no_such_column"):
        there().open(run_of(("nothing",)))
    with pytest.raises(ConfigurationError, match="key_is_a_field"):
        there().open(run_of(("id",)))


def test_rights_that_are_missing_are_named(
    tmp_path: Path, database: psycopg.Connection, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("drop role if exists reader")
    database.execute("create role reader login password 'reader-password'")
    try:
        database.execute("grant usage on schema crm to reader")
        database.execute("grant select on crm.people to reader")
        host = url.rpartition("@")[2]
        monkeypatch.setenv("PG_URL", f"postgresql://reader:reader-password@{host}")
        table = build_in(tmp_path, "postgres", url={"env": "PG_URL"}, schema="crm", table="people", key="id")
        table.check()
        with pytest.raises(PermissionDenied, match="CREATE in its schema"):
            table.open(run_of(("name",)))
        monkeypatch.setenv("PG_URL", f"postgresql://reader:wrong-password@{host}")
        with pytest.raises(PermissionDenied, match="login_refused") as told:
            table.check()
        assert "wrong-password" not in str(told.value)
    finally:
        database.execute("drop owned by reader")
        database.execute("drop role reader")
