"""Dagster's event log with kept connections: the same files and the same events as Dagster's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from orchestration.home import PROJECT_ROOT
from orchestration.resources.event_log import KeptSqliteEventLogStorage

RUNS = 6  # more than the shards that are kept open


@dg.op
def says() -> None:
    pass


@dg.job
def talks() -> None:
    says()


@pytest.fixture
def instance_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(PROJECT_ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


def test_what_is_written_is_what_dagsters_own_storage_reads(instance_folder: Path) -> None:
    with dg.DagsterInstance.from_config(str(instance_folder)) as instance:
        assert isinstance(instance.event_log_storage, KeptSqliteEventLogStorage)
        runs = [talks.execute_in_process(instance=instance).run_id for _ in range(RUNS)]
        kept = {run: [dg.serialize_value(entry) for entry in instance.all_logs(run)] for run in runs}
    own = SqliteEventLogStorage(str(instance_folder / "history" / "runs"))
    assert set(own.get_all_run_ids()) == set(runs)
    for run in runs:
        assert [dg.serialize_value(entry) for entry in own.get_logs_for_run(run)] == kept[run]
        assert kept[run]


def test_a_forked_process_opens_its_own_connections(instance_folder: Path) -> None:
    with dg.DagsterInstance.from_config(str(instance_folder)) as instance:
        first = talks.execute_in_process(instance=instance).run_id
        child = os.fork()
        if not child:
            status = 1
            try:
                talks.execute_in_process(instance=instance)
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        talks.execute_in_process(instance=instance)
        assert len(instance.get_runs()) == 3
        assert instance.all_logs(first)


def test_no_file_stays_open(instance_folder: Path) -> None:
    with dg.DagsterInstance.from_config(str(instance_folder)) as instance:
        talks.execute_in_process(instance=instance)
    folder = str(instance_folder / "history" / "runs")
    descriptors = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    assert not [
        target for fd in descriptors if fd.is_symlink() and (target := str(fd.readlink())).startswith(folder)
    ]
