"""What the README shows works: its commands run, its files load."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from orchestration.destinations.registry import destinations_file, load_destinations
from orchestration.home import PROJECT_ROOT, Home
from orchestration.settings import load_settings
from orchestration.specs.loader import load_project
from tests.command import EXECUTABLE, ask, environment, jingxi
from tests.integration.test_main_job import BACK_FILL

README = Path(__file__).parents[2] / "README.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


def _section(title: str) -> str:
    return README.read_text(encoding="utf-8").split(f"\n{title}\n")[1].split("\n## ")[0]


def _block(language: str, first_word: str) -> str:
    return next(block for block in _blocks(language) if first_word in block)


def test_every_command_works(small_home: Path, tmp_path: Path) -> None:
    home = tmp_path / ".jingxi"
    shutil.copytree(small_home, home, symlinks=True)
    # The home of `make demo`: the same brand, known as the sample.
    (home / "state" / "home.json").write_text(json.dumps({"dataset": "sample", "folder": None}))
    (home / "state" / "sample.json").write_text("{}")
    spec = tmp_path / "dbt_project" / "specs" / "audiences" / "spring_winback.yml"
    spec.parent.mkdir(parents=True)
    spec.write_text(_block("yaml", "audience: spring_winback"), encoding="utf-8")
    commands = [
        line for block in _blocks("bash") for line in block.splitlines() if line.startswith("jingxi ")
    ]
    assert len(commands) >= 9
    words = [shlex.split(line, comments=True) for line in commands]
    # A minute of its own, which the test of what a back-fill does spends.
    words.remove(shlex.split(BACK_FILL))
    for line in words:
        arguments = line[1:]
        outcome = subprocess.run(
            [EXECUTABLE, *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert outcome.returncode == 0, f"{line}\n{outcome.stdout}\n{outcome.stderr}"
        assert outcome.stdout.strip(), line


def test_every_published_mart_is_listed(small_home: Path) -> None:
    listed = set(re.findall(r"`(\w+)`", _section("## Tour: BI")))
    assert {name for (name,) in ask(small_home, "select table_name from duckdb_tables()")} <= listed


def test_a_slip_in_a_spec_is_explained_as_shown(small_home: Path, tmp_path: Path) -> None:
    spec = tmp_path / "spring_winback.yml"
    text = _block("yaml", "audience: spring_winback")
    spec.write_text(text.replace("column: rfm_cell, in", "column: rfm_cel, in"), encoding="utf-8")
    outcome = jingxi("preview", spec, "--home", small_home, status=2)
    assert "did you mean 'rfm_cell'?" in outcome.err
    assert "there is no column 'rfm_cel' in user_wide; did you mean 'rfm_cell'?" in README.read_text()


def test_the_settings_file_is_valid(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.settings_file.write_text(_block("yaml", "# jingxi.yml"), encoding="utf-8")
    settings, _ = load_settings(home)
    assert settings.rfm.split == "raw_mean"


def test_the_adapter_is_the_tested_one() -> None:
    tested = Path(__file__).parents[1] / "unit" / "data" / "shop.yml"
    assert yaml.safe_load(_block("yaml", "# shop.yml")) == yaml.safe_load(tested.read_text(encoding="utf-8"))


def test_the_destinations_shown_are_known(tmp_path: Path) -> None:
    destinations_file(tmp_path).write_text(_block("yaml", "# destinations.yml"), encoding="utf-8")
    assert set(load_destinations(tmp_path)) == {
        "crm",
        "wecom",
        "mass",
        "sms",
        "bucket",
        "drop",
        "ads",
        "crm_db",
    }


def test_the_activation_line_shown_is_right(tmp_path: Path) -> None:
    for folder in ("dbt_project", "seeds"):
        shutil.copytree(
            PROJECT_ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("target", "docs", "tests")
        )
    text = _block("yaml", "activation: dormant_to_crm")
    (tmp_path / "dbt_project" / "specs" / "activations" / "dormant_to_crm.yml").write_text(
        text, encoding="utf-8"
    )
    load_project(tmp_path / "dbt_project")


def test_the_tags_shown_are_valid_yaml() -> None:
    family = yaml.safe_load(_block("yaml", "family: spending"))
    assert [tag["tag"] for tag in family["tags"]] == ["repeat_buyer", "spending_power", "generation"]


def test_every_bundled_dataset_is_listed() -> None:
    from orchestration.ingestion.sources import dataset_names

    for name in dataset_names():
        assert f"| `{name}`" in README.read_text(encoding="utf-8")


@pytest.mark.long
def test_dev_opens_the_ui(small_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(small_home, home, symlinks=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # As a script starts it in the background: interrupts are ignored.
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            "trap '' INT; exec \"$@\"",
            "sh",
            EXECUTABLE,
            "dev",
            "--home",
            home,
            "--port",
            str(port),
        ],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 180
        assets: list[object] = []
        query = json.dumps({"query": "{assetNodes { assetKey { path } groupName }}"}).encode()
        while time.monotonic() < deadline and not assets:
            time.sleep(2)
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/graphql", query, {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    assets = json.load(answer)["data"]["assetNodes"]
            except (OSError, KeyError, TypeError):
                continue
        paths = {tuple(asset["assetKey"]["path"]) for asset in assets}  # type: ignore[index]
        assert {("landing",), ("raw", "orders"), ("user_wide",), ("published",)} <= paths
    finally:
        process.terminate()
        process.wait(60)
