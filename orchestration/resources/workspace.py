"""The home, its settings and its lock, as Dagster resources."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster_dbt import DbtCliResource
from pydantic import Field, PrivateAttr

from orchestration.home import Home
from orchestration.lock import RunLock
from orchestration.settings import Settings, load_settings

# Process of a run, by which a later run knows that it is gone.
PROCESS_TAG = "jingxi/process"


class Workspace(dg.ConfigurableResource["Workspace"]):
    """The home that a run works in. While a run has it, no other run writes there."""

    home_path: str
    settings_file: str | None = None
    overrides: list[str] = Field(default_factory=list)
    purpose: str = "a scheduled run"
    wait: bool = True

    _settings: Settings | None = PrivateAttr(default=None)

    @property
    def home(self) -> Home:
        """Paths below the home folder."""
        return Home(Path(self.home_path))

    @property
    def settings(self) -> Settings:
        """Settings of the home, read once per run."""
        if self._settings is None:
            file = Path(self.settings_file) if self.settings_file else None
            self._settings, _ = load_settings(self.home, settings_file=file, overrides=self.overrides)
        return self._settings

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Workspace]:
        """Hold the home's lock for the whole run; say for whom it waits."""
        self.home.create()

        def tell(holder: object) -> None:
            if context.log:
                context.log.warning(f"Waiting for {holder}.")

        _note_process(context)
        with RunLock(self.home).hold(self.purpose, wait=self.wait, on_wait=tell):
            if context.instance:
                _end_dead_runs(context.instance)
            yield self


class Onlooker(Workspace):
    """The home for work that only reads what is published: it waits for nobody and nobody waits for it."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Workspace]:
        """Nothing is locked: a push of hours must not keep the nightly run out."""
        _note_process(context)
        yield self


def _note_process(context: dg.InitResourceContext) -> None:
    if context.instance and context.run:
        context.instance.add_run_tags(context.run.run_id, {PROCESS_TAG: str(os.getpid())})


def _end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Say of runs whose process is gone that they failed: a queue would wait for them for ever."""
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    for run in instance.get_runs(filters=unfinished):
        process = run.tags.get(PROCESS_TAG)
        if process and not _is_alive(int(process)):
            instance.report_run_failed(run, f"Its process {process} is gone.")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class WarehouseDbt(DbtCliResource):
    """dbt of this environment. Nothing asks the warehouse for columns while dbt writes to it, so no second handle
    on the warehouse is made (it would also cost seconds at each start)."""

    def _initialize_dbt_core_adapter(self, args: object) -> None:
        return None
