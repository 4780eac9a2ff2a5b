"""Landing files and the raw zone."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from orchestration.activation.deliveries import take_in_deliveries
from orchestration.activation.erasure import forget_erased
from orchestration.errors import JingxiError
from orchestration.home import Origin
from orchestration.ingestion.contracts import TABLES
from orchestration.ingestion.intake import take_in
from orchestration.ingestion.rejects import first_rejects
from orchestration.ingestion.sources import LANDING, bring, landing_folder
from orchestration.resources.workspace import Workspace

OWNERS = ["team:data-engineering"]
# One run per business day: a day is built whole, published, and only then the next.
BACKFILL = dg.BackfillPolicy.multi_run(1)
LANDING_KEY = dg.AssetKey("landing")


def raw_key(table: str) -> dg.AssetKey:
    """Key of a raw table; dbt's source of the same name has the same key."""
    return dg.AssetKey(["raw", table])


class LandingConfig(dg.Config):
    """Where the data comes from. Empty: as recorded for this home."""

    dataset: str | None = None
    folder: str | None = None


class IntakeRunConfig(dg.Config):
    """How files are taken in."""

    quarantine: bool = False


def landing_assets(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """The landing folder and the raw tables."""

    @dg.asset(
        key=LANDING_KEY,
        group_name="landing",
        owners=OWNERS,
        kinds={"file"},
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        description="Files that wait to be taken in, one folder per input table. A bundled dataset is "
        "simulated, or translated from its own files, into this folder first.",
    )
    def landing(
        context: dg.AssetExecutionContext, config: LandingConfig, workspace: Workspace
    ) -> dg.MaterializeResult[None]:
        home = workspace.home
        recorded = home.origin() or Origin(LANDING)
        origin = Origin(config.dataset, config.folder) if config.dataset else recorded
        home.check(origin)
        home.fix(workspace.settings.fixed())
        report = bring(origin, home, workspace.settings, on_progress=context.log.info)
        home.claim(origin)
        return dg.MaterializeResult(
            metadata={
                "dataset": origin.dataset,
                "folder": dg.MetadataValue.path(str(report.landing)),
                "files": report.files,
                **({"explained": dg.MetadataValue.json(report.explained)} if report.explained else {}),
            }
        )

    @dg.multi_asset(
        name="raw",
        specs=[
            dg.AssetSpec(
                raw_key(table.name),
                deps=[LANDING_KEY],
                group_name="raw",
                owners=OWNERS,
                kinds={"parquet"},
                description=f"{table.description} Every version of every accepted row, immutable.",
                metadata={
                    "dagster/column_schema": dg.TableSchema(
                        [
                            dg.TableColumn(
                                column.name,
                                column.type.value,
                                column.description,
                                dg.TableColumnConstraints(nullable=not column.required),
                            )
                            for column in table.columns
                        ]
                    )
                },
            )
            for table in TABLES
        ],
        partitions_def=partitions,
        backfill_policy=BACKFILL,
    )
    def raw(
        context: dg.AssetExecutionContext, config: IntakeRunConfig, workspace: Workspace
    ) -> Iterator[dg.MaterializeResult[None]]:
        home, settings = workspace.home, workspace.settings
        now = dt.datetime.now(dt.UTC)
        result = take_in(
            home,
            settings,
            landing_folder(home),
            now=now,
            business_day=settings.business_day(now),
            quarantine=config.quarantine,
        )
        # What was sent from here comes back like everything else.
        taken_in = [*result.files, *take_in_deliveries(home, settings, now=now)]
        try:
            forgotten = forget_erased(home, settings, at=now)
        except JingxiError as error:  # the payloads wait; the warehouse need not
            context.log.warning(f"Erased people are still in payloads of activation: {error}")
        else:
            if forgotten:
                context.log.info(f"Took {forgotten} rows of erased people out of payloads of activation.")
        for table in TABLES:
            files = [file for file in taken_in if file.table == table.name]
            taken = [file for file in files if file.status in ("taken", "new_version")]
            yield dg.MaterializeResult(
                asset_key=raw_key(table.name),
                metadata={
                    "files taken in": len(taken),
                    "records": sum(file.records for file in taken),
                    "accepted": sum(file.accepted for file in taken),
                    "rejected": sum(file.rejected for file in taken),
                    "extra columns": ", ".join(sorted({c for f in taken for c in f.extra_columns})) or "none",
                    "set aside": sum(file.status == "quarantined" for file in files),
                    "first rejects": dg.MetadataValue.json(first_rejects(home, taken)),
                },
            )

    return [landing, raw]
