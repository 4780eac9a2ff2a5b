"""Data health as asset checks: what the mart data_health says of each raw table."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import dagster as dg

from orchestration.assets.landing import raw_key
from orchestration.errors import BuildError
from orchestration.home import Home
from orchestration.ingestion.contracts import TABLES
from orchestration.publishing.health import CHECKS, UNKNOWN_TAGS, HealthFinding, read_health
from orchestration.resources.workspace import Workspace

HEALTH_KEY = dg.AssetKey("data_health")
HEALTH_CHECK = "data_health"
BLOCKING_CHECK = "nothing_blocks"


def findings_of(home: Home, as_of: dt.date) -> list[HealthFinding]:
    """What data_health says of a day: as it was just built, else as it is published. Raises BuildError."""
    days = set()
    for file, schema in ((home.warehouse, "marts"), (home.marts, "main")):
        day, findings = read_health(file, schema)
        if day == as_of:
            return findings
        days.add(day)
    if days == {None}:  # nothing ever arrived
        return []
    raise BuildError(f"Data health of {as_of} is not built: run the whole job for that day, not this step.")


def health_checks() -> dg.AssetChecksDefinition:
    """One check per raw table, which warns, and one that keeps the day from being published when a table fails that blocks.

    An evaluation costs Dagster some 50 ms, so the four checks of a table are one evaluation, with the numbers of each in
    its metadata, and tables that never had a row have none.
    """

    @dg.multi_asset_check(
        name="data_health_checks",
        specs=[
            *(
                dg.AssetCheckSpec(
                    HEALTH_CHECK,
                    asset=raw_key(table.name),
                    description=" ".join(f"{check}: {text}" for check, text in CHECKS.items())
                    + (
                        f" {UNKNOWN_TAGS}: Tags that no spec declares." if table.name == "manual_tags" else ""
                    ),
                    additional_deps=[HEALTH_KEY],
                )
                for table in TABLES
            ),
            dg.AssetCheckSpec(
                BLOCKING_CHECK,
                asset=HEALTH_KEY,
                blocking=True,
                description="No check fails of a table that seed data_health_rules calls blocking.",
            ),
        ],
        can_subset=True,
    )
    def data_health_checks(
        context: dg.AssetCheckExecutionContext, workspace: Workspace
    ) -> Iterator[dg.AssetCheckResult]:
        as_of = dt.date.fromisoformat(context.op_execution_context.partition_key)
        findings = findings_of(workspace.home, as_of)
        chosen = context.selected_asset_check_keys
        for table in TABLES:
            own = [finding for finding in findings if finding.table == table.name]
            if own and dg.AssetCheckKey(raw_key(table.name), HEALTH_CHECK) in chosen:
                yield _result(table.name, own)
        if dg.AssetCheckKey(HEALTH_KEY, BLOCKING_CHECK) not in chosen:
            return
        blocking = [finding for finding in findings if finding.blocks]
        yield dg.AssetCheckResult(
            passed=not blocking,
            asset_key=HEALTH_KEY,
            check_name=BLOCKING_CHECK,
            metadata={"failed": "\n".join(finding.said() for finding in blocking) or "none"},
        )
        if blocking:
            raise BuildError(
                f"{as_of} is not published, because input that blocks is not as it should be: "
                + " ".join(finding.said() for finding in blocking)
                + " When that is right, run again with is_blocking false in seeds/rules/data_health_rules.csv."
            )

    return data_health_checks


def _result(table: str, findings: list[HealthFinding]) -> dg.AssetCheckResult:
    """The four checks of a table as one evaluation."""
    unusual = [finding for finding in findings if finding.is_unusual]
    metadata: dict[str, Any] = {
        "sentence": " ".join(finding.said() for finding in unusual) or "Nothing unusual.",
        "checks": dg.MetadataValue.json(
            [
                {"check": finding.check, "status": finding.status, "sentence": finding.said()}
                for finding in findings
            ]
        ),
    }
    for finding in findings:
        for name, value in (
            ("", finding.measured),
            (" expected from", finding.expected_low),
            (" expected to", finding.expected_high),
        ):
            if value is not None:
                metadata[f"{finding.check}{name}"] = value
    blocks = any(finding.blocks for finding in findings)
    return dg.AssetCheckResult(
        passed=not unusual,
        asset_key=raw_key(table),
        check_name=HEALTH_CHECK,
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )
