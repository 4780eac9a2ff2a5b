"""`jingxi doctor`: what is checked, and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import duckdb

from orchestration.activation.erasure import unfinished_erasure
from orchestration.activation.ledger import Ledger
from orchestration.destinations.errors import DestinationError
from orchestration.destinations.registry import load_destinations
from orchestration.errors import JingxiError
from orchestration.home import Home
from orchestration.lock import RunLock
from orchestration.publishing.health import in_short, read_health
from orchestration.publishing.publish import published_as, verify_published
from orchestration.settings import Settings
from orchestration.specs.compiler import check_compiled
from orchestration.warehouse.project import dbt_executable

_PINNED = ("dbt-core", "dbt-duckdb", "duckdb", "dagster", "dagster-dbt", "dagster-webserver")
_LEAST_FREE_GIB = 2
_FINDINGS_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    found: str
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON types."""
        return asdict(self)


def check_up(home: Home, settings: Settings) -> list[Finding]:
    """Look at everything a run needs. Changes nothing."""
    return [
        _python(),
        *_packages(),
        _dbt(),
        _folder(home),
        _disk(home),
        _secret(home),
        _lock(home),
        _warehouse(home, settings),
        _specs(),
        _published(home),
        _health(home),
        *_destinations(home),
        _ledger(home, settings),
        _erasure(home),
    ]


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(
        "Python",
        sys.version_info >= (3, 11),
        found,
        "" if sys.version_info >= (3, 11) else "Use 3.11 or 3.12.",
    )


def _packages() -> list[Finding]:
    findings = []
    for name in _PINNED:
        try:
            findings.append(Finding(name, True, version(name)))
        except PackageNotFoundError:
            findings.append(Finding(name, False, "missing", "Run `make install`."))
    return findings


def _dbt() -> Finding:
    there = os.access(dbt_executable(), os.X_OK)
    return Finding("dbt executable", there, dbt_executable(), "" if there else "Run `make install`.")


def _folder(home: Home) -> Finding:
    place = next(folder for folder in (home.path, *home.path.parents) if folder.exists())
    writable = os.access(place, os.W_OK)
    origin = home.origin()
    found = f"holds {origin.dataset}" if origin else "not used yet"
    return Finding(
        "home folder",
        writable,
        found,
        "" if writable else f"{place} cannot be written; choose another --home.",
    )


def _disk(home: Home) -> Finding:
    place = next(folder for folder in (home.path, *home.path.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 2**30
    ok = free >= _LEAST_FREE_GIB
    return Finding("free disk", ok, f"{free:.1f} GiB", "" if ok else f"Free at least {_LEAST_FREE_GIB} GiB.")


def _secret(home: Home) -> Finding:
    file = home.secret_key_file
    if home.lost_its_key:
        return Finding(
            "secret key", False, "gone", f"Restore {file} from a backup: every user_id depends on it."
        )
    if not file.exists():
        return Finding("secret key", True, "made by the first run")
    mode = file.stat().st_mode & 0o777
    ok = mode & 0o077 == 0
    return Finding("secret key", ok, f"mode {mode:o}", "" if ok else f"Run chmod 600 {file}.")


def _lock(home: Home) -> Finding:
    holder = RunLock(home).holder()
    return Finding("lock", True, f"held by {holder}" if holder else "free")


def _warehouse(home: Home, settings: Settings) -> Finding:
    if not home.warehouse.exists():
        return Finding("warehouse", True, "built by the first run")
    if RunLock(home).holder():
        return Finding("warehouse", True, "a run is writing")
    try:
        with duckdb.connect(str(home.warehouse), read_only=True) as connection:
            tables = connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
    except duckdb.Error:
        return Finding(
            "warehouse",
            False,
            "cannot be opened",
            "Close other programs that hold it, or delete it and run again: it is rebuilt from raw/.",
        )
    unused = _unused(home, tables)
    if not unused:
        return Finding("warehouse", True, f"{len(tables)} tables")
    named = ", ".join(unused[:_FINDINGS_SHOWN]) + (", …" if len(unused) > _FINDINGS_SHOWN else "")
    # Not ok: an erasure that leaves somebody in a forgotten table is none.
    return Finding(
        "warehouse",
        False,
        f"{len(tables)} tables, {len(unused)} of no model",
        f"No model makes {named} any more: nothing keeps that up to date, nor erases people from it. "
        f"Delete {home.warehouse} and run again: it is rebuilt from raw/.",
    )


def _unused(home: Home, tables: list[tuple[str, str]]) -> list[str]:
    """Tables in the schemas of the models that no model or seed makes."""
    manifest = home.dbt_target / "project.json"
    if not manifest.exists():
        return []
    nodes = json.loads(manifest.read_text())["nodes"].values()
    made = {(node["schema"], node["alias"]) for node in nodes if node["resource_type"] in ("model", "seed")}
    schemas = {schema for schema, _ in made}
    return sorted(
        f"{schema}.{name}" for schema, name in tables if schema in schemas and (schema, name) not in made
    )


def _specs() -> Finding:
    try:
        stale = check_compiled()
    except JingxiError as error:
        return Finding("specs", False, "cannot be used", str(error))
    return Finding(
        "specs",
        not stale,
        f"{len(stale)} stale files" if stale else "compiled",
        "Run `jingxi compile`." if stale else "",
    )


def _published(home: Home) -> Finding:
    try:
        published = published_as(home)
    except JingxiError as error:
        return Finding("published marts", False, "cannot be read", str(error))
    if published is None:
        return Finding("published marts", True, "nothing yet; `jingxi run` publishes")
    problems = verify_published(home)
    if problems:
        return Finding("published marts", False, problems[0], "Run `jingxi run --full-refresh`.")
    return Finding("published marts", True, f"as of {published[0]}")


def _health(home: Home) -> Finding:
    """Data health of the published day: a failure is something to do, a warning something to know."""
    try:
        day, findings = read_health(home.marts, "main")
    except duckdb.Error:
        return Finding("data health", True, "cannot be read")
    if day is None:
        return Finding("data health", True, "not looked at yet; `jingxi run` does")
    unusual = [finding for finding in findings if finding.is_unusual]
    return Finding(
        "data health",
        not any(finding.status == "fail" for finding in findings),
        f"{in_short(Counter(finding.status for finding in findings))}, as of {day}",
        "\n".join(finding.said() for finding in unusual[:_FINDINGS_SHOWN])
        + ('\n…; see `jingxi sql "from data_health"`' if len(unusual) > _FINDINGS_SHOWN else ""),
    )


def _destinations(home: Home) -> list[Finding]:
    """Every destination that the home declares, asked whether it works; nothing is sent."""
    try:
        destinations = load_destinations(home.path)
    except JingxiError as error:
        return [Finding("destinations", False, "cannot be used", str(error))]
    findings = []
    for name, destination in destinations.items():
        try:
            destination.check()
        except DestinationError as error:
            findings.append(Finding(f"destination {name}", False, error.code, error.hint))
        except JingxiError as error:
            findings.append(Finding(f"destination {name}", False, "cannot be used", str(error)))
        else:
            findings.append(Finding(f"destination {name}", True, "ready"))
    return findings


def _ledger(home: Home, settings: Settings) -> Finding:
    """What activation left for a person to do."""
    if settings.activation.ledger_url is None and not (home.path / "ledger.sqlite").exists():
        return Finding("ledger", True, "made by the first `jingxi push`")
    try:
        ledger = Ledger.open(home, settings.activation.ledger_url)
        waiting = ledger.runs(states=("awaiting_approval",))
        doubtful = ledger.runs(in_doubt=True)
        last = ledger.runs(limit=1)
        off = ledger.switched_off()
        ledger.dispose()
    except JingxiError as error:
        return Finding("ledger", False, "cannot be read", str(error))
    advice = [f"Look, then: jingxi push --approve {run.run_id} ({run.reason})" for run in waiting]
    advice += [
        f"{run.in_doubt:,} records of {run.activation} are in doubt: jingxi push {run.activation}"
        for run in doubtful
    ]
    advice += [one.sentence for one in off.values()]
    found = f"last run {last[0].activation}: {last[0].state}" if last else "no run yet"
    return Finding("ledger", not advice, found, "\n".join(advice[:_FINDINGS_SHOWN]))


def _erasure(home: Home) -> Finding:
    """Whether the last run took everybody who asked to be erased out of what waits to be sent."""
    unfinished = unfinished_erasure(home)
    if unfinished is None:
        return Finding("erasure", True, "nobody waits for it")
    return Finding("erasure", False, "not finished", unfinished.sentence)
