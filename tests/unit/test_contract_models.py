"""The generated dbt sources and staging models follow the contracts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestration.ingestion.contracts import RAW_COLUMNS, TABLES, Table
from orchestration.warehouse import contract_models as generated


def test_tree_is_up_to_date() -> None:
    assert generated.stale_files() == [], f"run `{generated.COMMAND}` and commit the result"


def test_check_names_what_is_missing_changed_or_left_over(tmp_path: Path) -> None:
    generated.write_files(tmp_path)
    assert generated.stale_files(tmp_path) == []
    folder = tmp_path / generated.FOLDER
    (folder / "stg_raw__orders.sql").unlink()
    (folder / "stg_raw__staff.sql").write_text("select 1\n")
    (folder / "stg_raw__gone.sql").write_text("select 1\n")
    names = [path.name for path in generated.stale_files(tmp_path)]
    assert names == ["stg_raw__gone.sql", "stg_raw__orders.sql", "stg_raw__staff.sql"]
    generated.write_files(tmp_path)
    assert generated.stale_files(tmp_path) == []
    assert not (folder / "stg_raw__gone.sql").exists()


def test_sources_and_models_name_every_table_and_column() -> None:
    files = generated.rendered_files()
    (source,) = yaml.safe_load(files[generated.SOURCES_FILE])["sources"]
    models = yaml.safe_load(files[generated.MODELS_FILE])["models"]
    assert source["name"] == "raw"
    staged_models = {staged["name"]: staged for staged in models}
    for table, raw in zip(TABLES, source["tables"], strict=True):
        assert raw["name"] == table.name
        assert raw["config"]["meta"]["external_location"] == (
            f"read_parquet(jingxi_session.raw.{table.name}(), union_by_name=true)"
        )
        names = [column.name for column in (*table.columns, *RAW_COLUMNS)]
        assert [column["name"] for column in raw["columns"]] == names
        if table.name in generated.READ_IN_PLACE:
            continue
        staged = staged_models.pop(f"stg_raw__{table.name}")
        assert staged["description"].startswith("One row per ")
        assert [column["name"] for column in staged["columns"]] == [*names, "_first_arrived_on"]
        assert all(column["description"] and column["data_type"] for column in staged["columns"])
    assert not staged_models


@pytest.mark.parametrize("table", generated.STAGED_TABLES, ids=lambda table: table.name)
def test_staging_model_lists_every_column_of_the_contract(table: Table) -> None:
    sql = generated.staging_sql(table)
    for column in generated.staging_columns(table):
        assert f" as {column.name}" in sql
    assert f'source("raw", "{table.name}")' in sql
    assert "qualify" not in sql
    assert sql.endswith("select *\nfrom final\n")
