"""What dbt parsed is used as long as it fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.home import Home
from orchestration.settings import Settings
from orchestration.warehouse import project


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of dbt found what an earlier one had parsed."""
    found: list[bool] = []

    def parse(home: Home, *_: object) -> str:
        earlier = home.dbt_target / "partial_parse.msgpack"
        found.append(earlier.exists())
        earlier.write_bytes(b"parsed")
        (home.dbt_target / "manifest.json").write_text("{}")
        return ""

    monkeypatch.setattr(project, "run_dbt", parse)
    return found


def test_a_project_is_parsed_once_for_the_same_settings(tmp_path: Path, parses: list[bool]) -> None:
    home = Home(tmp_path)
    for settings in (Settings(), Settings(), Settings.model_validate({"rfm": {"frequency": "orders"}})):
        assert project.ensure_manifest(home, settings).read_text() == "{}"
    assert parses == [False, True]


def test_a_project_that_has_moved_is_parsed_from_the_beginning(
    tmp_path: Path, parses: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    project.ensure_manifest(home, Settings())
    moved = tmp_path / "moved" / "dbt_project"
    moved.mkdir(parents=True)
    monkeypatch.setattr(project, "DBT_PROJECT_DIR", moved)
    project.ensure_manifest(home, Settings())
    assert parses == [False, False]
