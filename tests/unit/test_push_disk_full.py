"""The ledger's disk is full, or its file may only be read, at any point of a push: what cannot be recorded is not sent,
one sentence says so, and when there is room again the next push goes on. Counted at the destination.

The disk is a real one of three megabytes, where this process may mount one; elsewhere the process itself is forbidden to write
a file beyond its present size, which needs no rights.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, get_args

import duckdb
import pytest
import sqlalchemy as sa

from orchestration.activation.crash_points import CRASH_POINTS, CrashPoint
from orchestration.activation.ledger import Ledger, LedgerError
from orchestration.activation.service import open_desk
from orchestration.cli.pushing import PushOrder
from orchestration.cli.pushing import push as push_lines
from orchestration.errors import JingxiError
from orchestration.home import Home
from orchestration.settings import load_settings
from tests.activation_support import KEYS, Engine, Kind, balances, engine, line
from tests.fakes.receiver import FakeReceiver
from tests.published_home import Person, publish
from tests.unit.test_push import at_passage, once

KINDS: tuple[Kind, ...] = get_args(Kind)
PEOPLE = {f"1380000{i:04}": str(i) for i in range(10)}
SHORT = ("reconciles", "whole")
_MARKER = "13800000003"


class Disk:
    """A small disk of its own that can be filled to the last byte."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for size in (65_536, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

    @property
    def is_full(self) -> bool:
        return self._filler.exists()


def _open_files() -> Iterator[Path]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them is closed by now
            yield descriptor.readlink()


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("this process may not mount a disk")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def disk(mounted: Path) -> Iterator[Disk]:
    disk = Disk(mounted)
    yield disk
    for file in sorted(mounted.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    # What a test leaves open gives its room back whenever it is collected: in the midst of the next test.
    assert not shutil.disk_usage(mounted).used, "something still holds files that are gone"


def push(one: Engine) -> str:
    """Push once; what is said when it fails."""
    try:
        done = one.activation.push(one.line, one.destination)
    except JingxiError as error:
        return str(error)
    if one.server.kind == "forgets":
        for run in one.ledger.runs(in_doubt=True):  # a person looks at the far side
            one.ledger.decide(run.run_id, sent=_arrived(one))
    return "" if done.ok else "not ok"


def _arrived(one: Engine) -> set[str]:
    return {KEYS.of_key("phone", key) for key, _ in one.server.delivered}


def push_with_trouble_at(
    home: Path, kind: Kind, point: CrashPoint, passage: int, begin: Callable[[Ledger], None]
) -> tuple[Engine, str]:
    """A push during which the ledger's disk fails at a passage of a point, and what it said."""
    ledger = Ledger.open(Home(home))
    one = engine(home, kind, PEOPLE, ledger)
    meets = at_passage(point, passage)

    def trouble(at: CrashPoint) -> bool:
        if meets(at):
            begin(ledger)
        return False

    one.crash = trouble
    return one, push(one)


def goes_on(one: Engine) -> None:
    """The trouble is over: the same process, or the next one, comes to the end by itself."""
    one.crash = lambda at: False
    for _ in range(4):
        push(one)
    assert once(one, PEOPLE)
    assert all(balances(one.ledger))
    assert not list(one.home.path.glob("activation/*.parquet"))


@pytest.mark.parametrize("point", CRASH_POINTS)
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in SHORT else pytest.mark.long) for kind in KINDS]
)
def test_a_disk_that_fills_up_at_any_point(disk: Disk, kind: Kind, point: CrashPoint) -> None:
    for passage in (1, 2, 3):
        home = disk.path / f"home{passage}"
        one, said = push_with_trouble_at(home, kind, point, passage, lambda _: disk.fill())
        calls = one.server.calls
        if disk.is_full and said:
            assert _is_a_sentence(said)
            push(one)  # still full: it goes no further than what it can write
            known = sum(count for state, count in _states(one).items() if state not in ("planned", "held"))
            assert sum(one.server.delivered.values()) <= known
            assert one.server.calls <= calls + 1
        disk.free()
        goes_on(one)
        one.ledger.dispose()


def _is_a_sentence(said: str) -> bool:
    return "\n" not in said and ("full" in said or "o space left" in said) and _MARKER not in said


def _states(one: Engine) -> dict[str, int]:
    runs = one.ledger.runs(limit=1)
    return one.ledger.counts(runs[0].run_id) if runs else {}


@pytest.mark.parametrize("point", CRASH_POINTS)
@pytest.mark.parametrize("kind", ["reconciles"])
def test_a_ledger_that_may_only_be_read(tmp_path: Path, kind: Kind, point: CrashPoint) -> None:
    read_only = False

    def forbid(ledger: Ledger) -> None:
        nonlocal read_only
        read_only = True

        @sa.event.listens_for(ledger._engine, "checkout")
        def _forbid(connection: Any, *_: object) -> None:
            connection.execute(f"pragma query_only = {'on' if read_only else 'off'}")

    one, said = push_with_trouble_at(tmp_path, kind, point, 1, forbid)
    if read_only and point not in ("after_close",):
        assert "may only be read" in said
    read_only = False
    goes_on(one)


def test_no_ledger_can_be_made_on_a_full_disk(disk: Disk) -> None:
    disk.fill()
    gc.disable()
    try:
        with pytest.raises(LedgerError, match="disk is full"):
            Ledger.open(Home(disk.path))
        # Given back at once, not when memory is next tidied up.
        assert not [file for file in _open_files() if file.is_relative_to(disk.path)]
    finally:
        gc.enable()
    disk.free()
    ledger = Ledger.open(Home(disk.path))
    assert ledger.runs() == []
    ledger.dispose()


@pytest.mark.parametrize("point", ["before_sending", "after_call"])
def test_a_process_that_may_write_no_more(tmp_path: Path, point: CrashPoint) -> None:
    server = FakeReceiver()
    try:
        call = [sys.executable, "-m", "tests.full_disk_push", str(tmp_path), f"{server.url}/in"]

        def start(at: str) -> subprocess.CompletedProcess[str]:
            environment = {**os.environ, "HOOK_SECRET": FakeReceiver.SECRET}
            return subprocess.run(
                [*call, at], env=environment, capture_output=True, text=True, timeout=120, check=False
            )

        failed = start(point)
        assert (failed.returncode, failed.stderr) == (1, "")
        assert failed.stdout.count("\n") == 1 and "Nothing " in failed.stdout and "138" not in failed.stdout
        assert len(server.applied) == (4 if point == "after_call" else 0)
        assert start("nowhere").returncode == 0
        assert server.applied == dict.fromkeys(PEOPLE, 1)
        calls = len(server.ids)
        assert start("nowhere").returncode == 0 and len(server.ids) == calls
    finally:
        server.stop()


def test_the_command_says_one_sentence_for_each_line_and_goes_on_later(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `jingxi push` and `jingxi doctor` see it: payload, lock and alerts of a whole home on the full disk too."""
    from orchestration.activation import service

    people = [Person(f"u{i}", key) for i, key in enumerate(PEOPLE)]
    home = publish(disk.path / "home", people)
    own = line(destination="outbox", mode="mirror", channel="file", purpose="service")
    monkeypatch.setattr(service, "_declared", lambda _: ({own.activation: own}, {}))
    decisions = ", ".join(f"('{own.activation}', '{one.user_id}', true, null)" for one in people)
    with duckdb.connect(str(home.marts)) as session:
        session.execute(
            "create table contact_policy_decisions (activation varchar, user_id varchar, is_allowed boolean, rule varchar)"
        )
        session.execute(f"insert into contact_policy_decisions values {decisions}")
    order = PushOrder(home, load_settings(home)[0])
    with closing(open_desk(home, order.settings)) as desk:
        disk.fill()
        for _ in range(2):
            with pytest.raises(JingxiError) as error:
                desk.push(own)
            assert _is_a_sentence(str(error.value)) and error.value.exit_status == 1
    disk.fill()  # what the desk held open took room too
    try:  # as a process that begins now: it may find that the ledger cannot be opened, or that nothing can be planned
        (told,), well = push_lines(order, None)
        assert not well
        said = told["reason"]
    except LedgerError as error:
        said = str(error)
    assert _is_a_sentence(said)
    assert not list((home.path / "outbox").rglob("*.csv"))
    disk.free()
    (told,), well = push_lines(order, None)
    assert well and (told["planned"], told["accepted"]) == (10, 10)
    (told,), well = push_lines(order, None)
    assert well and told["state"] == "nothing_to_send"
