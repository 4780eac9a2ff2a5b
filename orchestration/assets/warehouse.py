"""The dbt project as assets: models as assets, dbt tests as asset checks."""

import datetime as dt
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliInvocation, dbt_assets
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from orchestration.assets.landing import BACKFILL, OWNERS
from orchestration.errors import BuildError
from orchestration.home import Home
from orchestration.publishing.publish import published_as, verify_published
from orchestration.resources.workspace import WarehouseDbt, Workspace
from orchestration.settings import Settings
from orchestration.specs.compiler import check_compiled
from orchestration.warehouse.project import (
    HISTORY_SELECTION,
    dbt_args,
    dbt_environment,
    ensure_manifest,
    forget_build,
    input_hash,
    remember_build,
    run_dbt,
)
from orchestration.warehouse.state_day import forget_state_day, moving_to

# For how long dbt may go on after it was asked to end.
GRACE_SECONDS = 30.0


class BuildRunConfig(dg.Config):
    """How the warehouse is built."""

    full_refresh: bool = False


class Translator(DagsterDbtTranslator):
    """Names assets as the models, groups them as the folders, says who owns them."""

    def __init__(self) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """`raw/<table>` for sources, `seeds/<name>` for seeds, the model's name for models."""
        name = dbt_resource_props["name"]
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], name])
        if dbt_resource_props["resource_type"] == "seed":
            return dg.AssetKey(["seeds", name])
        return dg.AssetKey(name)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The layer, and below the marts their folder."""
        folders = list(dbt_resource_props["fqn"][1:-1])
        if dbt_resource_props["resource_type"] == "seed":
            return "seeds"
        if folders[0] == "marts" and len(folders) > 1:
            return f"marts_{folders[1]}"
        return str(folders[0])

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """The owner in the model's meta, else the data engineers."""
        meta = dbt_resource_props.get("config", {}).get("meta", {})
        return [meta["owner"]] if "owner" in meta else OWNERS


def missing_history(home: Home, settings: Settings, as_of: dt.date) -> list[dt.date]:
    """Business days before `as_of`, inside the history that is kept, that no build has filled with today's input.

    The day after downtime, or the first day after history was loaded at once, fills in the days in between.
    """
    days = [as_of - dt.timedelta(days=back) for back in range(settings.history.days - 1, 0, -1)]
    if not days:
        return []
    filled: dict[dt.date, str] = {}
    if home.warehouse.exists():
        with duckdb.connect(str(home.warehouse), read_only=True) as connection:
            tables = connection.execute(
                "select 1 from duckdb_tables() where schema_name = 'marts' and table_name = 'history_days'"
            ).fetchall()
            if tables:
                filled = dict(
                    connection.execute("select as_of_date, input_hash from marts.history_days").fetchall()
                )
    return [day for day in days if filled.get(day) != input_hash(home, settings, day)]


def failed_nodes(home: Home) -> list[str]:
    """What failed in dbt's last call, one sentence each."""
    file = home.dbt_target / "run_results.json"
    results = json.loads(file.read_text())["results"] if file.exists() else []
    sentences = []
    for result in results:
        if result["status"] in ("error", "fail", "runtime error"):
            kind, _, *name = result["unique_id"].split(".")
            message = " ".join(str(result.get("message") or "").split())
            sentences.append(f"{kind} {name[0]}: {message}")
    return sentences


def row_counts(home: Home) -> dict[str, int]:
    """Rows of every table in the warehouse, by name."""
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() where not temporary"
        ).fetchall()
        counts = {}
        for schema, table in tables:
            row = connection.execute(f'select count(*) from "{schema}"."{table}"').fetchone()
            counts[table] = int(row[0]) if row else 0
    return counts


def warehouse_assets(manifest: Path, partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """All models and seeds, built by one dbt call."""

    @dbt_assets(
        name="warehouse",
        manifest=manifest,
        dagster_dbt_translator=Translator(),
        partitions_def=partitions,
        exclude="resource_type:unit_test",
        backfill_policy=BACKFILL,
    )
    def warehouse(
        context: dg.AssetExecutionContext, config: BuildRunConfig, workspace: Workspace, dbt: WarehouseDbt
    ) -> Iterator[Any]:
        home, settings = workspace.home, workspace.settings
        as_of = dt.date.fromisoformat(context.partition_key)
        stale = check_compiled()
        if stale:
            raise BuildError(
                f"The specs were changed and not compiled: run `jingxi compile` ({', '.join(stale[:5])})."
            )
        ensure_manifest(home, settings)
        wanted = input_hash(home, settings, as_of)
        if (
            published_as(home) == (as_of, wanted)
            and not config.full_refresh
            # Damaged files are published anew, from a warehouse that may hold another day by now.
            and not verify_published(home)
        ):
            context.log.info(f"Nothing new for {as_of}: the published marts stand as they are.")
            yield from _unchanged(context)
            return
        forget_build(home)
        if config.full_refresh:
            forget_state_day(home)
        for day in missing_history(home, settings, as_of):
            with moving_to(home, settings, day) as since:
                context.log.info(f"Filling in {day}{_going_on(since)}")
                run_dbt(
                    home,
                    dbt_args("build", settings, select=HISTORY_SELECTION, tests=False),
                    dbt_environment(home, settings, day, input_hash(home, settings, day), since),
                )
        whole = not context.is_subset
        with moving_to(home, settings, as_of, anew=config.full_refresh, whole=whole) as since:
            context.log.info(f"Building {as_of}{_going_on(since)}")
            environment = dbt_environment(home, settings, as_of, wanted, since)
            os.environ.update(environment)
            (home.dbt_target / "run_results.json").unlink(missing_ok=True)
            call = dbt.cli(
                dbt_args("build", settings, full_refresh=config.full_refresh),
                context=context,
                target_path=home.dbt_target,
            )
            yield from _with_row_counts(context, call, home)
        if whole:
            remember_build(home, as_of, wanted)

    return warehouse


def _going_on(since: dt.date | None) -> str:
    return f", going on from {since}" if since else ", from the raw files"


def _unchanged(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """Every selected asset as it stands, dependencies first, and its checks: what is published passed them all."""
    assets = context.assets_def
    selected = context.selected_asset_keys
    order = TopologicalSorter({key: assets.asset_deps[key] & selected for key in selected})
    for key in order.static_order():
        name = assets.get_output_name_for_asset_key(key)
        yield dg.Output(None, output_name=name, metadata={"unchanged": True})
    for check in sorted(context.selected_asset_check_keys, key=str):
        yield dg.AssetCheckResult(
            passed=True, asset_key=check.asset_key, check_name=check.name, metadata={"unchanged": True}
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process by force where asking does not help: one that was started with SIGTERM ignored hands that down."""
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _with_row_counts(context: dg.AssetExecutionContext, call: DbtCliInvocation, home: Home) -> Iterator[Any]:
    """Check results as they come; models at the end, when their rows can be counted without dbt's lock."""
    built: list[dg.Output[Any]] = []
    failure: Exception | None = None
    try:
        for event in call.stream():
            if isinstance(event, dg.Output):
                built.append(event)
                context.log.info(f"Built {event.metadata['unique_id'].value}")
            else:
                yield event
    except DagsterDbtCliRuntimeError as error:  # said again below in a person's words
        failure = error
    except BaseException:
        # Nobody reads any more what dbt prints: it would wait for that for ever, and the run for dbt.
        _end(call.process)
        raise
    finally:
        call.process.wait()
    counts = row_counts(home) if home.warehouse.exists() else {}
    for output in built:
        name = str(output.metadata["unique_id"].value).rsplit(".", 1)[-1]
        rows = {"dagster/row_count": counts[name]} if name in counts else {}
        yield output.with_metadata({**output.metadata, **rows})
    if failure:
        reasons = failed_nodes(home)
        if not reasons:
            raise failure
        raise BuildError(
            f"{len(reasons)} of the warehouse's models and tests failed; published marts are unchanged; "
            f"the whole log is {home.dbt_target / 'dbt.log'}.\n" + "\n".join(reasons[:20])
        ) from failure
