"""The dbt project as the runs see it: arguments, fingerprint, manifest."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestration.errors import BuildError
from orchestration.home import DBT_PROJECT_DIR, SEEDS_DIR, Home
from orchestration.ingestion.registry import Registry
from orchestration.lock import RunLock
from orchestration.settings import Settings
from orchestration.warehouse.dbt_process import RUN_VARIABLE
from orchestration.warehouse.quick_dbt import TEMPLATES
from orchestration.warehouse.session import (
    AS_OF_VARIABLE,
    INPUT_HASH_VARIABLE,
    KNOWN_UNTIL_VARIABLE,
    MEMORY_LIMIT_VARIABLE,
    SINCE_VARIABLE,
    THREADS_VARIABLE,
)

# What by-date tables need on a day that is filled in afterwards.
HISTORY_SELECTION = ("+history_days",)
_SOURCES = (".sql", ".yml", ".csv", ".md")


def dbt_executable() -> str:
    """The dbt of the environment that runs this code."""
    return str(Path(sys.executable).with_name("jingxi-dbt"))


def dbt_args(
    command: str,
    settings: Settings,
    *,
    select: Sequence[str] = (),
    full_refresh: bool = False,
    tests: bool = True,
) -> list[str]:
    """Arguments of one dbt call. Pure: same arguments in, same list out.

    Unit tests are left to the project's own tests: they say nothing about the data of a run.
    """
    args = [command, "--vars", json.dumps(settings.dbt_vars(), sort_keys=True)]
    if select:
        args += ["--select", *select]
    if command == "build":
        args += ["--exclude-resource-type", "unit_test"]
        if not tests:
            # Nobody reads the report of models alone, which takes dbt a second to write.
            args += ["--exclude-resource-type", "test", "--no-write-json"]
    if full_refresh:
        args.append("--full-refresh")
    return args


def dbt_environment(
    home: Home, settings: Settings, as_of: dt.date, input_hash: str, since: dt.date | None = None
) -> dict[str, str]:
    """Environment variables of one dbt call, without those of this process. `since`: see state_day.py."""
    environment = {
        "JINGXI_HOME": str(home.path),
        AS_OF_VARIABLE: as_of.isoformat(),
        INPUT_HASH_VARIABLE: input_hash,
        SINCE_VARIABLE: since.isoformat() if since else "",
        KNOWN_UNTIL_VARIABLE: settings.history.known_until(as_of).isoformat(),
        MEMORY_LIMIT_VARIABLE: settings.engine.memory_limit,
        RUN_VARIABLE: str(os.getpid()),
        "DBT_PROJECT_DIR": str(DBT_PROJECT_DIR),
        "DBT_PROFILES_DIR": str(DBT_PROJECT_DIR),
        "DBT_TARGET_PATH": str(home.dbt_target),
        "DBT_LOG_PATH": str(home.logs),
        "DBT_LOG_LEVEL_FILE": "info",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }
    if settings.engine.threads:
        environment[THREADS_VARIABLE] = str(settings.engine.threads)
    return environment


def project_fingerprint() -> str:
    """SHA-256 over the dbt project, the seeds and the versions that decide what a build computes."""
    digest = hashlib.sha256(f"{version('dbt-core')} {version('duckdb')}".encode())
    for root in (DBT_PROJECT_DIR, SEEDS_DIR):
        for file in sorted(root.rglob("*")):
            if file.suffix in _SOURCES and "target" not in file.relative_to(root).parts:
                digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def input_hash(home: Home, settings: Settings, as_of: dt.date) -> str:
    """SHA-256 of everything that the marts of `as_of` are a function of."""
    key = hashlib.sha256(b"jingxi-key" + home.secret_key()).hexdigest()
    parts = (
        as_of.isoformat(),
        Registry(home).input_hash(settings.history.known_until(as_of)),
        settings.fingerprint(),
        project_fingerprint(),
        key,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def run_dbt(home: Home, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run dbt to its end and return what it printed. Raises BuildError with dbt's own words."""
    process = subprocess.run(
        [dbt_executable(), *arguments],
        env={**os.environ, **environment},
        cwd=DBT_PROJECT_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        tail = "\n".join(process.stdout.strip().splitlines()[-12:])
        raise BuildError(f"dbt {arguments[0]} failed; the whole log is {home.logs / 'dbt.log'}.\n{tail}")
    return process.stdout


def ensure_manifest(home: Home, settings: Settings) -> Path:
    """The manifest of the project, parsed again when the project or the settings changed."""
    # A copy: dbt writes its own manifest anew, in place, with every call.
    manifest = home.dbt_target / "project.json"
    stamp = home.dbt_target / "project.stamp"
    wanted = f"{project_fingerprint()} {settings.fingerprint()} {DBT_PROJECT_DIR}"
    found = stamp.read_text() if stamp.exists() else ""
    if not (manifest.exists() and found == wanted):
        home.create()
        if not found.endswith(f" {DBT_PROJECT_DIR}"):
            # What dbt parsed names the project's place, and dbt does not notice that it has moved.
            (home.dbt_target / "partial_parse.msgpack").unlink(missing_ok=True)
        environment = dbt_environment(home, settings, settings.schedule.first_day, "")
        with RunLock(home).hold("preparing dbt"):
            stamp.unlink(missing_ok=True)
            # Those of the project as it was would stay for ever.
            (home.dbt_target / TEMPLATES).unlink(missing_ok=True)
            run_dbt(home, dbt_args("parse", settings), environment)
            part = manifest.with_suffix(".part")
            shutil.copyfile(home.dbt_target / "manifest.json", part)
            part.replace(manifest)
            stamp.write_text(wanted)
    return manifest


def _build_mark(home: Home) -> Path:
    return home.warehouse.with_name("built.json")


def forget_build(home: Home) -> None:
    """Say that the warehouse holds no whole day: a build has begun."""
    _build_mark(home).unlink(missing_ok=True)


def remember_build(home: Home, as_of: dt.date, built_from: str) -> None:
    """Say that the warehouse holds `as_of`, whole and tested, built from that input hash."""
    _build_mark(home).write_text(json.dumps([as_of.isoformat(), built_from]))


def is_built(home: Home, as_of: dt.date, built_from: str) -> bool:
    """Whether the warehouse holds that day, built from that input hash."""
    mark = _build_mark(home)
    return mark.exists() and json.loads(mark.read_text()) == [as_of.isoformat(), built_from]


def by_date_marts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Marts that hold one set of rows per business day, with their date column."""
    return {
        node["name"]: node["config"]["meta"]["by_date"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and "by_date" in node["config"].get("meta", {})
    }


def kept_days(manifest: Mapping[str, Any], settings: Settings, as_of: dt.date) -> dict[str, list[dt.date]]:
    """Days that by-date marts hold when `as_of` is the latest; marts that are not named keep every day."""
    return {
        node["name"]: settings.history.kept_wide_days(as_of)
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"].get("meta", {}).get("kept_days") == "wide"
    }


def published_models(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the models that are published, by schema: marts and private."""
    found: dict[str, list[str]] = {"marts": [], "private": []}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model" and node["schema"] in found:
            found[node["schema"]].append(node["name"])
    return {schema: sorted(names) for schema, names in found.items()}
