"""The sessions that dbt opens, one for every model."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.environments.local import LocalEnvironment

from orchestration.home import DBT_PROJECT_DIR


@pytest.fixture
def environment(tmp_path: Path) -> LocalEnvironment:
    """dbt's database as the project's profile makes it, with little memory."""
    text = (DBT_PROJECT_DIR / "profiles.yml").read_text()
    text = text.replace("{{ env_var('JINGXI_HOME', '.jingxi') }}", str(tmp_path))
    text = text.replace("{{ env_var('JINGXI_MEMORY_LIMIT', '4GB') }}", "100MB")
    assert "env_var" not in text
    profile = yaml.safe_load(text)["jingxi"]["outputs"]["duckdb"]
    (tmp_path / "warehouse").mkdir()
    return LocalEnvironment(DuckDBCredentials.from_dict({**profile, "schema": "main"}))


def test_a_model_after_one_that_spilled_is_built(environment: LocalEnvironment, tmp_path: Path) -> None:
    first = environment.handle().cursor()
    first.execute(
        "create table spilled as select i, md5(cast(i as varchar)) as text from range(4000000) as r (i) order by text"
    )
    first.execute("create temp table held as select text from spilled order by text desc")
    assert list((tmp_path / "temp").iterdir())
    second = environment.handle().cursor()
    assert second.execute("select current_setting('TimeZone'), count(*) from spilled").fetchone() == (
        "UTC",
        4_000_000,
    )
    assert second.execute("select current_setting('temp_directory')").fetchone() == (f"{tmp_path}/temp",)
