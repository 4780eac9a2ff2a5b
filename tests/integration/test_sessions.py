"""The sessions that dbt opens, one for every model."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.environments.local import LocalEnvironment

from orchestration.home import DBT_PROJECT_DIR, Home


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalEnvironment:
    """dbt's database as the project's profile makes it, with little memory."""
    Home(tmp_path).create()
    monkeypatch.setenv("JINGXI_HOME", str(tmp_path))
    monkeypatch.setenv("JINGXI_MEMORY_LIMIT", "100MB")
    monkeypatch.delenv("JINGXI_AS_OF", raising=False)
    profile = yaml.safe_load((DBT_PROJECT_DIR / "profiles.yml").read_text())["jingxi"]["outputs"]["duckdb"]
    return LocalEnvironment(DuckDBCredentials.from_dict(profile))


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
    assert (tmp_path / "warehouse" / "warehouse.duckdb").exists()
    assert second.execute("select current_setting('temp_directory')").fetchone() == (f"{tmp_path}/temp",)
