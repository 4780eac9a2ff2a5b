"""Runs the real `jingxi` command, as a person would."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.warehouse.quick_dbt import TEMPLATES

EXECUTABLE = Path(sys.executable).with_name("jingxi")
# A server that has imported what a run imports, five seconds of it, and forks for each command. It imports no module
# that looks at the environment or at the terminal: each command has its own.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.a_script", "orchestration.cli.running", "orchestration.cli.summary"])
# What dbt parsed is the same for every home with the same settings, and worth ten seconds of each new one. The stamp
# says what it was parsed from: a home takes what does not fit for what it is.
# Settings for data sets of real size: one day of history, because days filled in before it are compared elsewhere, and as many
# threads of the engine as any machine has, so that nothing depends on the order of rows.
REAL_SIZE = ("--set", "history.days=1", "--set", "engine.threads=2")
_PARSED = Path(__file__).parents[1] / ".pytest_cache" / "parsed"
_PARSED_FILES = (TEMPLATES, "manifest.json", "partial_parse.msgpack", "project.json", "project.stamp")


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings that a developer may have exported."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JINGXI_", "DAGSTER_", "DBT_"))
    }
    clean.pop("PYTHONDONTWRITEBYTECODE", None)
    # Two days of history: enough to be filled in, and half the time of the default. One thread of the engine: for a few
    # hundred users a second one waits longer than it works. Larger data sets name theirs.
    few = {"JINGXI_SET_HISTORY__DAYS": "2", "JINGXI_SET_ENGINE__THREADS": "1"}
    return {**clean, "COLUMNS": "160", "NO_COLOR": "1", **few, **more}


def jingxi(*arguments: str | Path, status: int | None = 0, timeout: float = 600) -> Outcome:
    """Run the command; fail the test when it ends with another status than the one that is expected."""
    words = [str(argument) for argument in arguments]
    _take_parsed(words)
    outcome = in_new_process(words, environment(), timeout=timeout)
    _keep_parsed(words)
    if status is not None and outcome.status != status:
        raise AssertionError(
            f"jingxi {' '.join(words)} ended with {outcome.status}, expected {status}\n"
            f"{outcome.out[-4000:]}\n{outcome.err[-4000:]}"
        )
    return outcome


def in_new_process(
    words: Sequence[str], variables: Mapping[str, str], *, cwd: Path | None = None, timeout: float = 600
) -> Outcome:
    """Run the entry point of `jingxi` in a process of its own. Raises TimeoutError when it does not end in time."""
    with tempfile.TemporaryDirectory(prefix="jingxi-command-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        arguments = (list(words), dict(variables), str(cwd or Path.cwd()), str(out), str(err))
        process = _SERVER.Process(target=_enter, args=arguments)
        with contextlib.chdir(
            Path(__file__).parents[1]
        ):  # from where the server imports, when this starts it
            process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"jingxi {' '.join(words)} has not ended after {timeout} s")
        return Outcome(process.exitcode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def _enter(words: list[str], variables: dict[str, str], cwd: str, out: str, err: str) -> None:
    assert "tests.a_script" in sys.modules, "the server could not import it"
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    for file, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    sys.argv = ["jingxi", *words]
    from orchestration.cli import main

    main()


def _take_parsed(words: Sequence[str]) -> None:
    home, kept = _places(words)
    if home and kept and kept.is_dir() and not (home / "dbt").exists():
        shutil.copytree(kept, home / "dbt")


def _keep_parsed(words: Sequence[str]) -> None:
    home, kept = _places(words)
    if home and kept and not kept.exists() and (home / "dbt" / _PARSED_FILES[-1]).exists():
        part = kept.with_name(f"{kept.name}.{os.getpid()}")
        part.mkdir(parents=True)
        for name in _PARSED_FILES:
            shutil.copy2(home / "dbt" / name, part)
        part.rename(kept)


def take_parsed_of(home: Path, other: Path) -> None:
    """Give a new home what dbt has parsed for another one of the same settings."""
    (home / "dbt").mkdir(parents=True, exist_ok=True)
    for name in _PARSED_FILES:
        shutil.copy2(other / "dbt" / name, home / "dbt")


def _places(words: Sequence[str]) -> tuple[Path | None, Path | None]:
    """The home of a run, and where that is kept which dbt parsed for its settings."""
    if words[0] != "run" or "--home" not in words:
        return None, None
    home = Path(words[words.index("--home") + 1])
    settings = [after for word, after in itertools.pairwise(words) if word == "--set"]
    settings += sorted(
        f"{name}={value}" for name, value in environment().items() if name.startswith("JINGXI_")
    )
    settings += [file.read_text() for file in [home / "jingxi.yml"] if file.exists()]
    return home, _PARSED / hashlib.sha256("\n".join(settings).encode()).hexdigest()[:16]


def ask(home: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query on the published marts."""
    with duckdb.connect(str(home / "published" / "marts.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def marts(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all published marts but `publication`, sorted."""
    with duckdb.connect(str(home / "published" / "marts.duckdb"), read_only=True) as connection:
        names = [row[0] for row in connection.execute("select table_name from duckdb_tables()").fetchall()]
        return {
            name: connection.execute(f'select * from "{name}" order by all').fetchall()
            for name in sorted(names)
            if name != "publication"
        }
