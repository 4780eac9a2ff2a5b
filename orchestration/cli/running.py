"""`jingxi run`: the main job, executed here, with its progress and its summary."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.markup import escape

from orchestration.assets.health import HEALTH_CHECK
from orchestration.assets.published import GUARD_CHECK
from orchestration.definitions import build_definitions
from orchestration.errors import JingxiError, UsageError
from orchestration.home import PROJECT_ROOT, Home, Origin
from orchestration.ingestion.contracts import TABLES
from orchestration.ingestion.sources import LANDING, SAMPLE, dataset_names, default_as_of
from orchestration.jobs import MAIN_JOB
from orchestration.lock import Holder, RunLock
from orchestration.settings import Settings, load_settings
from orchestration.specs.compiler import check_compiled, write_compiled
from orchestration.warehouse.project import ensure_manifest


@dataclass(frozen=True)
class RunOrder:
    """What `jingxi run` was asked for."""

    home: Home
    dataset: str | None = None
    source: Path | None = None
    landing: Path | None = None
    as_of: dt.date | None = None
    full_refresh: bool = False
    quarantine: bool = False
    wait: bool = True
    settings_file: Path | None = None
    overrides: Sequence[str] = ()

    def origin(self) -> Origin:
        """Where the data comes from. Raises UsageError when the flags contradict each other or the home."""
        recorded = self.home.origin()
        if self.landing and (self.dataset or self.source):
            raise UsageError(
                "--landing and --dataset exclude each other: a landing folder holds input tables."
            )
        if self.landing:
            return self._checked(Origin(LANDING, str(self.landing.absolute())))
        dataset = self.dataset or (recorded.dataset if recorded else self._unnamed())
        if dataset.endswith((".yml", ".yaml")):
            dataset = str(Path(dataset).absolute())
        elif dataset not in (*dataset_names(), LANDING):
            raise UsageError(
                f"There is no dataset {dataset!r}. Bundled are {', '.join(dataset_names())}; "
                "or give the path of an adapter file."
            )
        if self.source:
            return self._checked(Origin(dataset, str(self.source.absolute())))
        same = recorded and recorded.dataset == dataset
        return self._checked(recorded if recorded and same else Origin(dataset))

    def _unnamed(self) -> str:
        """A home that is used for the first time: files that landed there are what it is for, else the sample."""
        landing = self.home.landing
        return LANDING if landing.is_dir() and any(landing.iterdir()) else SAMPLE

    def _checked(self, origin: Origin) -> Origin:
        recorded = self.home.origin()
        if recorded:
            self.home.check(origin)
        return origin


@dataclass
class RunSummary:
    """What a run did, for people and programs."""

    home: Home
    as_of: dt.date
    dataset: str
    seconds: float = 0
    intake: dict[str, dict[str, Any]] = field(default_factory=dict)
    explained: dict[str, Any] = field(default_factory=dict)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    published: dict[str, Any] = field(default_factory=dict)
    marts: dict[str, int] = field(default_factory=dict)
    checks_passed: int = 0
    health: list[dict[str, Any]] = field(default_factory=list)
    audiences: dict[str, dict[str, Any]] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON types."""
        return {
            "home": str(self.home.path),
            "as_of": self.as_of.isoformat(),
            "dataset": self.dataset,
            "seconds": round(self.seconds, 1),
            "intake": self.intake,
            "explained": self.explained,
            "rejects": self.rejects,
            "published": self.published,
            "marts": self.marts,
            "checks_passed": self.checks_passed,
            "health": self.health,
            "audiences": self.audiences,
            "held": self.held,
        }

    def show(self, console: Console) -> None:
        """Print the summary for a person."""
        from orchestration.cli.summary import show_summary

        show_summary(self.to_dict(), self.home, console)


def prepare_dagster(home: Home, settings: Settings) -> None:
    """Install dagster.yaml into the home and have a manifest that fits the project."""
    home.create()
    wanted = (PROJECT_ROOT / "dagster.yaml").read_bytes()
    installed = home.dagster / "dagster.yaml"
    if not installed.exists() or installed.read_bytes() != wanted:
        shutil.copyfile(PROJECT_ROOT / "dagster.yaml", installed)
    os.environ["DAGSTER_HOME"] = str(home.dagster)
    ensure_manifest(home, settings)


def run_main_job(order: RunOrder, *, console: Console | None, warnings: Console) -> RunSummary:
    """Execute the main job for one business day. Raises JingxiError with the reason when it fails."""
    started = time.monotonic()
    home = order.home
    settings, _ = load_settings(home, settings_file=order.settings_file, overrides=order.overrides)
    origin = order.origin()
    home.check_fixed(settings.fixed())
    as_of = order.as_of or default_as_of(origin.dataset, settings)
    today = settings.business_day()
    if as_of > today:
        raise UsageError(f"--as-of {as_of} is in the future: today's business day is {today}.")
    if as_of < settings.schedule.first_day:
        raise UsageError(
            f"--as-of {as_of} is before the first day {settings.schedule.first_day} (schedule.first_day)."
        )
    home.create()

    def say(text: str) -> None:
        if console:
            console.print(f"[dim]{time.monotonic() - started:6.1f}s[/dim] {text}", highlight=False)

    def wait_for(holder: Holder) -> None:
        (console or warnings).print(f"Waiting for {holder}.", highlight=False, markup=False, soft_wrap=True)

    purpose = f"jingxi run --as-of {as_of}"
    with RunLock(home).hold(purpose, wait=order.wait, on_wait=wait_for):
        say("Preparing")
        if compiled := compile_changed_specs():
            say(f"Compiled the changed specs: {compiled} files written")
        prepare_dagster(home, settings)
        result = _execute(order, origin, as_of, purpose, say)
    summary = RunSummary(home, as_of, origin.dataset)
    _gather(summary, result, home)
    summary.seconds = time.monotonic() - started
    return summary


def compile_changed_specs() -> int:
    """Generate what the specs ask for, when they were changed since; returns how many files that wrote.

    Raises SpecError with what is wrong in them, JingxiError when the project cannot be written.
    """
    if not check_compiled():
        return 0
    try:
        return len(write_compiled())
    except OSError as error:
        raise JingxiError(
            f"The specs were changed, and {error.filename} cannot be written: let somebody who may run `jingxi compile`."
        ) from error


def _execute(
    order: RunOrder, origin: Origin, as_of: dt.date, purpose: str, say: Any
) -> dg.ExecuteInProcessResult:
    definitions = build_definitions(
        order.home,
        settings_file=order.settings_file,
        overrides=order.overrides,
        purpose=purpose,
        wait=order.wait,
    )
    job = definitions.resolve_job_def(MAIN_JOB)
    run_id = str(uuid.uuid4())
    # dagster-dbt reports its own calls; what a person wants to know is said by the assets.
    logging.getLogger("dagster.builtin").setLevel(logging.WARNING)
    with (
        dg.DagsterInstance.from_config(str(order.home.dagster)) as instance,
        (order.home.logs / "run.log").open("w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
    ):
        instance.add_event_listener(run_id, _listener(say))
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            partition_key=as_of.isoformat(),
            raise_on_error=False,
            run_config={
                "ops": {
                    "landing": {"config": {"dataset": origin.dataset, "folder": origin.folder}},
                    "raw": {"config": {"quarantine": order.quarantine}},
                    "warehouse": {"config": {"full_refresh": order.full_refresh}},
                },
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )
    if not result.success:
        raise _failure(result)
    return result


def _listener(say: Any) -> Any:
    titles = {
        "landing": "Landing",
        "raw": "Taking files in",
        "warehouse": "Building and testing the warehouse",
        "data_health_checks": "Looking at the input's health",
        "published": "Publishing",
        "audience_files": "Writing audience files",
    }

    def on_event(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            if logging.INFO <= int(entry.level) < logging.ERROR:
                say(f"  {escape(entry.user_message)}")
        elif event.event_type_value == "STEP_START" and event.step_key in titles:
            say(f"[bold]{titles[event.step_key]}[/bold]")

    return on_event


def _failure(result: dg.ExecuteInProcessResult) -> JingxiError:
    """The error that ended the run, as it was raised: Dagster keeps errors as text."""
    known: list[type[JingxiError]] = [JingxiError, *_kinds_of(JingxiError)]
    kinds = {kind.__name__: kind for kind in known}
    deepest = "The run failed; `jingxi dev` shows its log."
    for event in result.all_events:
        error = getattr(event.event_specific_data, "error", None)
        while error:
            deepest = (
                f"{error.cls_name}: {error.message.split(': ', 1)[-1].strip()} "
                "(`jingxi dev` shows the whole story of the run)"
            )
            if error.cls_name in kinds:
                failure = JingxiError(error.message.split(": ", 1)[-1].strip())
                failure.exit_status = kinds[error.cls_name].exit_status
                return failure
            error = error.cause
    return JingxiError(deepest)


def _kinds_of(kind: type[JingxiError]) -> list[type[JingxiError]]:
    return [found for child in kind.__subclasses__() for found in (child, *_kinds_of(child))]


def _gather(summary: RunSummary, result: dg.ExecuteInProcessResult, home: Home) -> None:
    tables = {table.name for table in TABLES}
    for event in result.all_events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            evaluation = event.asset_check_evaluation_data
            summary.checks_passed += evaluation.passed
            if evaluation.check_name == GUARD_CHECK and not evaluation.passed:
                summary.held[evaluation.asset_key.path[-1]] = str(evaluation.metadata["sentence"].value)
            if evaluation.check_name == HEALTH_CHECK:
                checks: Any = evaluation.metadata["checks"].value
                summary.health += [{"table": evaluation.asset_key.path[-1], **check} for check in checks]
        if event.event_type_value != "ASSET_MATERIALIZATION" or event.asset_key is None:
            continue
        path = event.asset_key.path
        metadata: dict[str, Any] = {
            name: value.value
            for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        if path[0] == "raw" and path[-1] in tables and metadata.get("records"):
            summary.rejects += metadata.pop("first rejects")
            summary.intake[path[-1]] = metadata
        elif path == ["landing"]:
            summary.explained = dict(metadata.get("explained", {}))
        elif path == ["published"]:
            summary.marts = dict(metadata.pop("marts"))
            summary.published = metadata
        elif path[0] == "audience_files":
            summary.audiences[path[-1]] = metadata
