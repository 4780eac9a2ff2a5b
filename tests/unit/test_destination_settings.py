"""destinations.yml, secrets, pacing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestration.destinations.errors import ConfigurationError
from orchestration.destinations.pacing import Limit, Pacer, Workers
from orchestration.destinations.registry import KINDS, load_destinations
from orchestration.destinations.secrets import SecretSource
from orchestration.errors import UsageError
from tests.fakes.server import ScaledClock


def declare(home: Path, text: str) -> Any:
    (home / "destinations.yml").write_text(text, encoding="utf-8")
    return load_destinations(home)


def test_a_home_without_the_file_has_no_destination(tmp_path: Path) -> None:
    assert load_destinations(tmp_path) == {}
    assert declare(tmp_path, "") == {}


def test_destinations_are_made_without_a_call_or_a_secret(tmp_path: Path) -> None:
    made = declare(
        tmp_path,
        """
files: {kind: local_files, formats: [csv, parquet]}
crm: {kind: webhook, url: "https://crm.example.com/in", secret: {env: NOT_SET}}
sms: {kind: aliyun_sms, access_key_id: {env: NOT_SET}, access_key_secret: {env: NOT_SET}}
ads: {kind: ad_matching, platform: ocean_engine, store: {kind: local_files, folder: ads}}
""",
    )
    assert {name: own.name for name, own in made.items()} == {
        own: own for own in ("files", "crm", "sms", "ads")
    }
    with pytest.raises(ConfigurationError, match="NOT_SET"):
        made["crm"].check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("- a", "must hold destinations by name"),
        ("A b: {kind: webhook}", "1 to 64 of a-z"),
        ("../../x: {kind: local_files}", "1 to 64 of a-z"),
        ("a: {}", "needs a kind"),
        ("a: {kind: fax}", "unknown kind fax: choose from"),
        ("a: {kind: local_files, folders: x}", "the destination a: folders: Extra inputs"),
        ("a: {kind: webhook, url: x, secret: hunter2}", "the destination a: secret:"),
        ("a: {kind: 'no_such_module:Class'}", "cannot be imported"),
        ("a: {kind: 'orchestration.errors:Class'}", "has no Class"),
        ("a: {kind: ad_matching, platform: ocean_engine, identifier: imei}", "takes phone/md5, phone/sha256"),
        ("a: {kind: sftp, host: h, user: u, host_key: word, password: {env: A}}", "must be a public key"),
    ],
)
def test_slips_are_told_with_file_and_name_and_without_values(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError) as told:
        declare(tmp_path, text)
    assert message in str(told.value)
    assert "destinations.yml" in str(told.value)
    assert "hunter2" not in str(told.value)


def test_every_kind_can_be_imported_and_describes_itself() -> None:
    import importlib

    for path in KINDS.values():
        module, _, name = path.partition(":")
        own = getattr(importlib.import_module(module), name)
        assert own.__doc__
        assert own.Settings.model_config["extra"] == "forbid"


def test_secrets_come_from_the_environment_or_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", " word \n")
    assert SecretSource(env="A_SECRET").read() == "word"
    file = tmp_path / "secret"
    file.write_text("word\n")
    file.chmod(0o600)
    assert SecretSource(file=file).read() == "word"
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        SecretSource(file=file).read()
    for source in (SecretSource(env="NOT_SET"), SecretSource(file=tmp_path / "none")):
        with pytest.raises(ConfigurationError):
            source.read()


@given(
    limits=st.lists(
        st.tuples(st.integers(1, 200), st.sampled_from([1.0, 7.0, 60.0])),
        min_size=1,
        max_size=3,
        unique_by=lambda own: own[1],
    ),
    pauses=st.lists(st.floats(0, 30), max_size=150),
)
@example(limits=[(1, 1.0)], pauses=[1e-73])
def test_no_window_ever_holds_more_than_its_limit(
    limits: list[tuple[int, float]], pauses: list[float]
) -> None:
    clock = ScaledClock(factor=0, start=0)
    pacer = Pacer([Limit(calls, seconds) for calls, seconds in limits], clock)
    times = []
    for pause in [*pauses, *[0.0] * 150]:
        clock.sleep(pause)
        pacer.acquire()
        times.append(clock.monotonic())
    for calls, seconds in limits:
        for at, end in enumerate(times):
            # All calls in the half-open window that ends with this one, less a microsecond for what floats round off.
            assert sum(end - seconds + 1e-6 < own <= end for own in times[: at + 1]) <= calls


def test_the_rate_is_used_to_ninety_five_percent() -> None:
    clock = ScaledClock(factor=0, start=0)
    pacer = Pacer([Limit(1_000, 60), Limit(40_000, 3600)], clock)
    for _ in range(40_000):
        pacer.acquire()
    first_hour = clock.monotonic()
    assert 40_000 / first_hour * 60 >= 950
    pacer.acquire()
    assert 3600 <= clock.monotonic() <= 3600 * 1.05


def test_a_pause_holds_everybody() -> None:
    clock = ScaledClock(factor=0, start=0)
    pacer = Pacer([Limit(100, 1)], clock)
    pacer.acquire()
    pacer.pause(60)
    pacer.acquire()
    assert clock.monotonic() >= 60


def test_workers_are_halved_once_for_all_that_began_together() -> None:
    workers = Workers(16)
    for seen in [16] * 10:
        workers.halve(seen)
    assert workers.allowed == 8
    for _ in range(9):
        workers.halve(workers.allowed)
    assert workers.allowed == 1
    busy, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal busy, most
        with workers.one():
            with lock:
                busy += 1
                most = max(most, busy)
            with lock:
                busy -= 1

    threads = [threading.Thread(target=work) for _ in range(20)]
    for own in threads:
        own.start()
    for own in threads:
        own.join()
    assert most == 1
