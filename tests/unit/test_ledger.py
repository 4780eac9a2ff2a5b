"""The ledger: states that move only as they may, books that balance, nothing of a person in it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from orchestration.activation.ledger import Ledger, LedgerError, LineKey, NewRecord, NewRun, Run, Settlement
from orchestration.activation.tables import METADATA
from orchestration.home import Home
from tests.fakes.postgres import running_postgres

LINE = LineKey("winback_files", "local")


def new_run(ledger: Ledger, count: int, run_id: str = "r1", source: str = "s", line: LineKey = LINE) -> Run:
    run = NewRun(run_id, line, "winback", "upsert", source, dt.date(2026, 6, 30), count, count, 0, 0, 0)
    records = (NewRecord(i, f"key{i}", f"row{i}", "upsert") for i in range(count))
    return ledger.create_run(run, records)


def settled(i: int, state: str, code: str = "") -> Settlement:
    return Settlement(i, state, code)  # type: ignore[arg-type]


def acknowledged(ledger: Ledger, line: LineKey = LINE) -> dict[str, str]:
    return dict(pair for chunk in ledger.acknowledged(line) for pair in chunk)


@pytest.fixture(scope="module")
def postgres() -> Iterator[sa.URL]:
    with running_postgres() as url:
        yield sa.make_url(url).set(drivername="postgresql+psycopg")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    if request.param == "sqlite":
        yield Ledger.at("sqlite://")
        return
    url: sa.URL = request.getfixturevalue("postgres")
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("drop database if exists ledger"))
        connection.execute(sa.text("create database ledger"))
    own = Ledger.at(url.set(database="ledger").render_as_string(hide_password=False))
    yield own
    own.dispose()
    server.dispose()


def test_the_migrations_make_the_tables_that_the_code_has(ledger: Ledger) -> None:
    with ledger._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_ledger_is_made_once_with_mode_0600_and_opened_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    new_run(Ledger.open(home), 3)
    assert (tmp_path / "ledger.sqlite").stat().st_mode & 0o777 == 0o600
    assert Ledger.open(home).run("r1").planned == 3


def test_a_run_does_not_close_before_every_record_is_accounted_for(ledger: Ledger) -> None:
    run = new_run(ledger, 3)
    ledger.begin("r1", [0, 1], 1)
    ledger.settle(run, [settled(0, "accepted"), settled(1, "rejected", "bad")])
    with pytest.raises(LedgerError):
        ledger.close("r1", "finished")
    ledger.hold_rest("r1", "throttled")
    done = ledger.close("r1", "finished")
    assert (done.planned, done.accepted, done.rejected, done.in_doubt, done.held) == (3, 1, 1, 0, 1)
    assert ledger.reasons("r1") == {"throttled": 1}


def test_the_database_itself_refuses_books_that_do_not_balance(ledger: Ledger) -> None:
    new_run(ledger, 2)
    with pytest.raises(sa.exc.IntegrityError), ledger._engine.begin() as connection:
        connection.execute(sa.text("update runs set state = 'finished', accepted = 1"))


def test_state_moves_on_acknowledgement_only(ledger: Ledger) -> None:
    run = new_run(ledger, 4)
    ledger.begin("r1", [0, 1, 2, 3], 1)
    ledger.settle(
        run,
        [
            settled(0, "accepted"),
            settled(1, "rejected", "x"),
            settled(2, "in_doubt", "x"),
            settled(3, "held", "x"),
        ],
    )
    assert acknowledged(ledger) == {"key0": "row0"}
    ledger.settle(run, [settled(2, "accepted")])  # after reconciliation
    assert acknowledged(ledger) == {"key0": "row0", "key2": "row2"}
    assert ledger.close("r1", "finished").accepted == 2


def test_a_removal_that_is_acknowledged_ends_the_state(ledger: Ledger) -> None:
    run = new_run(ledger, 1)
    ledger.begin("r1", [0], 1)
    ledger.settle(run, [settled(0, "accepted")])
    ledger.close("r1", "finished")
    second = ledger.create_run(
        NewRun("r2", LINE, "winback", "mirror", "s2", dt.date(2026, 7, 1), 0, 0, 0, 1, 0),
        [NewRecord(0, "key0", "gone", "remove")],
    )
    ledger.begin("r2", [0], 1)
    ledger.settle(second, [Settlement(0, "accepted")])
    assert acknowledged(ledger) == {}


def test_a_record_that_somebody_else_settled_is_not_settled_again(ledger: Ledger) -> None:
    run = new_run(ledger, 1)
    ledger.begin("r1", [0], 1)
    ledger.settle(run, [settled(0, "accepted")])
    with pytest.raises(LedgerError, match="another process"):
        ledger.settle(run, [settled(0, "rejected", "x")])
    with pytest.raises(LedgerError, match="another process"):
        ledger.begin("r1", [0], 2)


def test_lines_do_not_see_each_others_state(ledger: Ledger) -> None:
    other = LineKey("birthday_files", "local")
    for line, run_id in ((LINE, "r1"), (other, "r2")):
        run = new_run(ledger, 1, run_id, line=line)
        ledger.begin(run_id, [0], 1)
        if line is LINE:
            ledger.settle(run, [settled(0, "accepted")])
    assert acknowledged(ledger) and not acknowledged(ledger, other)


def test_what_a_new_plan_leaves_out(ledger: Ledger) -> None:
    run = new_run(ledger, 6)
    ledger.begin("r1", range(5), 1)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    ledger.settle(
        run,
        [
            settled(0, "accepted"),
            settled(1, "rejected", "x"),
            settled(2, "in_doubt", "timeout"),
            Settlement(3, "held", "cap", later),
            settled(4, "held", "throttled"),
        ],
    )
    ledger.hold_rest("r1", "x")

    def left_out(source: str) -> dict[str, str]:
        return dict(pair for chunk in ledger.left_out(LINE, source) for pair in chunk)

    assert left_out("s") == {"key0": "accepted", "key1": "rejected", "key2": "in_doubt", "key3": "deferred"}
    assert left_out("another") == {"key2": "in_doubt", "key3": "deferred"}


def test_a_database_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be read or written"):
        Ledger.at(f"sqlite:///{tmp_path}/none/ledger.sqlite")
    with pytest.raises(LedgerError, match="ledger_url"):
        Ledger.at("nonsense")


def test_a_hundred_thousand_records_take_seconds(tmp_path: Path) -> None:
    ledger = Ledger.open(Home(tmp_path))
    began = time.process_time()
    run = new_run(ledger, 100_000)
    for batch in range(100):
        positions = range(batch * 1000, batch * 1000 + 1000)
        ledger.begin("r1", positions, batch + 1)
        ledger.settle(run, [settled(i, "accepted") for i in positions])
    assert ledger.close("r1", "finished").accepted == 100_000
    assert ledger.acknowledged_count(LINE) == 100_000
    assert time.process_time() - began < 20
