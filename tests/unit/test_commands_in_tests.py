"""Commands that tests start are as a person's: no server of tests shows in them."""

from __future__ import annotations

from pathlib import Path

import duckdb

from tests.command import environment, in_new_process


def test_a_command_has_its_own_folder_variables_and_streams(tmp_path: Path) -> None:
    outcome = in_new_process(["doctor", "--home", "own", "--json"], environment(), cwd=tmp_path)
    assert any(finding["what"] == "home folder" for finding in outcome.json["findings"])
    assert outcome.err == ""
    wrong = in_new_process(["run", "--home", "own", "--as-of", "never"], environment(), cwd=tmp_path)
    assert (wrong.status, wrong.out) == (2, "")
    assert wrong.err.startswith("jingxi: --as-of never is no date")


def test_duckdb_draws_no_progress_in_a_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "published").mkdir(parents=True)
    with duckdb.connect(str(home / "published" / "marts.duckdb")):
        pass
    asked = in_new_process(
        ["sql", "select current_setting('enable_progress_bar') as drawn", "--home", str(home), "--json"],
        environment(),
    )
    assert asked.status == 0, asked.err
    assert asked.json == [{"drawn": False}]
