"""The home, its settings and its lock, as Dagster resources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster_dbt import DbtCliResource
from pydantic import Field, PrivateAttr

from orchestration.home import Home
from orchestration.lock import RunLock
from orchestration.settings import Settings, load_settings


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

        with RunLock(self.home).hold(self.purpose, wait=self.wait, on_wait=tell):
            yield self


class WarehouseDbt(DbtCliResource):
    """dbt of this environment. Nothing asks the warehouse for columns while dbt writes to it, so no second handle
    on the warehouse is made (it would also cost seconds at each start)."""

    def _initialize_dbt_core_adapter(self, args: object) -> None:
        return None
