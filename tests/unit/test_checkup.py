"""What `jingxi doctor` finds in a warehouse."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from orchestration.cli.checkup import check_up
from orchestration.home import Home
from orchestration.settings import Settings


def test_tables_that_no_model_makes_are_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute(
            """
            create schema staging;
            create schema notes;
            create table staging.stg_raw__orders (order_id varchar);
            create table notes.stg_raw__events (id varchar);
            create table running_models (model varchar);
            """
        )

    def found() -> tuple[bool, str, str]:
        (finding,) = [finding for finding in check_up(home, Settings()) if finding.what == "warehouse"]
        return finding.ok, finding.found, finding.advice

    assert found() == (True, "3 tables", "")
    home.dbt_target.mkdir(exist_ok=True)
    nodes = {
        "model.jingxi.stg_raw__orders": {
            "resource_type": "model",
            "schema": "staging",
            "alias": "stg_raw__orders",
        },
        "unit_test.jingxi.u": {"resource_type": "unit_test", "schema": "notes", "alias": "u"},
    }
    (home.dbt_target / "project.json").write_text(json.dumps({"nodes": nodes}))
    assert found() == (True, "3 tables", "")

    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("create table staging.stg_raw__events (id varchar)")
    ok, said, advice = found()
    assert not ok
    assert said == "4 tables, 1 of no model"
    assert advice.startswith(
        "No model makes staging.stg_raw__events any more: nothing keeps that up to date, nor"
    )
    assert f"Delete {home.warehouse} and run again" in advice
