"""How the engine means to compute the models: nothing that grows with the square of the users."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.home import Home
from orchestration.settings import load_settings
from orchestration.warehouse.project import dbt_args, dbt_environment, run_dbt
from orchestration.warehouse.session import Plugin

# Models that may compare all with all, since one side stays a handful of rows however many users there are.
FEW_ROWS = {
    "contact_policy_decisions": "activation lines, caps and rules",
    "int_tags__value_counts": "the one day that is compared with",
    "rfm_migration": "pairs of the days held",
    "segment_movements": "segments of a few ways of cutting",
    "user_groups": "provinces",
    "user_service_assignment": "rules",
}


def _loops(node: dict[str, Any]) -> Iterator[str]:
    """Conditions of the joins that compare every row with every row."""
    if node["name"] == "BLOCKWISE_NL_JOIN":
        yield json.dumps(node["extra_info"])
    for child in node["children"]:
        yield from _loops(child)


def test_no_join_hides_an_equality_from_the_engine(
    small_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A condition on one side only, in the `on` of an outer join, turns a hash join into a loop over all pairs."""
    path = tmp_path / "home"
    shutil.copytree(small_home, path, symlinks=True)
    monkeypatch.setenv("JINGXI_HOME", str(path))
    monkeypatch.setenv("JINGXI_AS_OF", "2026-06-30")
    home = Home(path)
    compiled = sorted((home.dbt_target / "compiled/jingxi/models").rglob("*.sql"))
    assert len(compiled) > 100
    # Models that went forward over scratch tables, which are gone by now: as they are built anew.
    scratched = [file.stem for file in compiled if f"from {file.stem}__" in file.read_text()]
    if scratched:
        settings, _ = load_settings(home)
        environment = dbt_environment(home, settings, dt.date(2026, 6, 30), "")
        run_dbt(home, dbt_args("compile", settings, select=scratched), environment)
    with duckdb.connect(str(Home(path).warehouse)) as connection:
        plugin = Plugin.__new__(Plugin)
        plugin.configure_connection(connection)
        plugin.configure_cursor(connection)
        loops = {}
        for file in compiled:
            ((_, plan),) = connection.execute(f"explain (format json) {file.read_text()}").fetchall()
            found = [loop for node in json.loads(plan) for loop in _loops(node) if " = " in loop]
            if found and file.stem not in FEW_ROWS:
                loops[file.stem] = found
    assert loops == {}
