"""The rules of the models, each with its boundary, as dbt's own unit tests."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path

from orchestration.home import Home
from orchestration.settings import load_settings
from orchestration.warehouse.project import dbt_args, dbt_environment, run_dbt


def test_every_unit_test_of_the_models_passes(small_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "home"
    shutil.copytree(small_home, path, symlinks=True)
    home = Home(path)
    settings, _ = load_settings(home)
    environment = dbt_environment(home, settings, dt.date(2026, 6, 30), "")
    run_dbt(home, dbt_args("test", settings, select=["test_type:unit"]), environment)
    results = json.loads((home.dbt_target / "run_results.json").read_text())["results"]
    assert len(results) >= 40
    assert {result["status"] for result in results} == {"pass"}
