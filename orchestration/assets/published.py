"""What readers and marketers get: published marts and audience files."""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg

from orchestration.assets.landing import BACKFILL, OWNERS
from orchestration.errors import HeldError, PublishError
from orchestration.publishing.audience_files import AudienceExport, write_audience_files
from orchestration.publishing.publish import publish, published_as
from orchestration.resources.workspace import Workspace
from orchestration.warehouse.project import by_date_marts, input_hash, is_built, kept_days, published_models

PUBLISHED_KEY = dg.AssetKey("published")


GUARD_CHECK = "size_within_guard"


def audience_key(audience: str) -> dg.AssetKey:
    """Key of an audience's files."""
    return dg.AssetKey(["audience_files", audience])


def published_asset(
    manifest: Path, marts: Sequence[str], partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """The published version, made of all marts at once."""

    @dg.asset(
        key=PUBLISHED_KEY,
        deps=[dg.AssetKey(mart) for mart in marts],
        group_name="published",
        owners=OWNERS,
        kinds={"duckdb", "parquet"},
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        description="One version of all marts for BI: marts.duckdb and Parquet files, switched whole after every "
        "test has passed; private.duckdb holds the identifiers for export.",
    )
    def published(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult[None]:
        home, settings = workspace.home, workspace.settings
        as_of = dt.date.fromisoformat(context.partition_key)
        models = json.loads(manifest.read_text())
        wanted = input_hash(home, settings, as_of)
        if published_as(home) != (as_of, wanted) and not is_built(home, as_of, wanted):
            raise PublishError(
                f"The warehouse does not hold {as_of} whole and tested: run the whole job for that day, not this step."
            )
        result = publish(
            home,
            settings,
            as_of=as_of,
            input_hash=wanted,
            by_date=by_date_marts(models),
            declared=published_models(models),
            kept=kept_days(models, settings, as_of),
        )
        return dg.MaterializeResult(
            metadata={
                "version": result.version,
                "as_of": result.as_of.isoformat(),
                "unchanged": result.unchanged,
                "marts": dg.MetadataValue.json(result.marts),
                "dagster/row_count": sum(result.marts.values()),
                "file": dg.MetadataValue.path(str(home.marts)),
            }
        )

    return published


def audience_file_assets(
    exports: Sequence[AudienceExport], partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """One asset per declared audience: its files; a check for each that has a guard on its size."""

    @dg.multi_asset(
        name="audience_files",
        specs=[
            dg.AssetSpec(
                audience_key(export.name),
                deps=[PUBLISHED_KEY],
                group_name="audience_files",
                owners=OWNERS,
                kinds={"csv", "excel", "parquet"},
                description=export.title,
                skippable=True,
            )
            for export in exports
        ],
        check_specs=[
            dg.AssetCheckSpec(
                GUARD_CHECK,
                asset=audience_key(export.name),
                description="The number of members is within the guard that the audience declares; else its last "
                "files stay until a person accepts the size.",
            )
            for export in exports
            if export.guard
        ],
        can_subset=True,
        partitions_def=partitions,
        backfill_policy=BACKFILL,
    )
    def audience_files(
        context: dg.AssetExecutionContext, workspace: Workspace
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        as_of = dt.date.fromisoformat(context.partition_key)
        published = published_as(workspace.home)
        if published is None or published[0] != as_of:
            # A back-fill of an older day fills by-date tables only; the columns of that day are not published.
            context.log.info(f"No audience files for {as_of}: a later day is published.")
            return
        for export in exports:
            key = audience_key(export.name)
            if key not in context.selected_asset_keys:
                continue
            try:
                result = write_audience_files(
                    workspace.home, export, as_of=as_of, settings=workspace.settings
                )
            except HeldError as held:
                context.log.warning(str(held))
                yield _guard_result(key, str(held), passed=False)
                continue
            context.log.info(f"Wrote {export.name}: {result.rows} users")
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    "dagster/row_count": result.rows,
                    "held out": result.held_out,
                    "unchanged": result.unchanged,
                    "folder": dg.MetadataValue.path(str(result.folder)),
                },
            )

            if export.guard and dg.AssetCheckKey(key, GUARD_CHECK) in context.selected_asset_check_keys:
                yield _guard_result(key, "The size is within the guard, or was accepted.", passed=True)

    return audience_files


def _guard_result(key: dg.AssetKey, sentence: str, *, passed: bool) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed,
        asset_key=key,
        check_name=GUARD_CHECK,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"sentence": sentence},
    )
