"""Activation lines as assets: what was sent to each destination, and whether somebody has to look."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from orchestration.activation.lines import Line
from orchestration.activation.push import Progress
from orchestration.activation.service import open_desk
from orchestration.assets.landing import OWNERS
from orchestration.assets.published import PUBLISHED_KEY, audience_key
from orchestration.errors import PublishError
from orchestration.publishing.publish import published_as, verify_published
from orchestration.resources.workspace import Onlooker

ACTIVATION_GROUP = "activation"
SENT_CHECK = "sent"
WHOLE_CHECK = "whole_and_published"


def activation_key(activation: str) -> dg.AssetKey:
    """Key of an activation line."""
    return dg.AssetKey(["activation", activation])


def publication_check() -> dg.AssetChecksDefinition:
    """What is published is there and whole, else no line is pushed."""

    @dg.asset_check(
        asset=PUBLISHED_KEY,
        name=WHOLE_CHECK,
        blocking=True,
        description="The published files are there and are what the manifest says.",
    )
    def whole_and_published(onlooker: Onlooker) -> dg.AssetCheckResult:
        problems = verify_published(onlooker.home)
        if published_as(onlooker.home) is None:
            problems = ["Nothing is published yet."]
        if (
            problems
        ):  # a check that fails and one that yields nothing must both keep the lines from being pushed
            raise PublishError(f"No activation line is pushed: {problems[0]} Run `jingxi run` first.")
        return dg.AssetCheckResult(passed=True)

    return whole_and_published


def activation_assets(lines: Sequence[Line]) -> list[dg.AssetsDefinition]:
    """One asset per line, downstream of its audience's files and of the publication."""
    return [_asset(line) for line in lines]


def _asset(line: Line) -> dg.AssetsDefinition:
    key = activation_key(line.activation)

    @dg.asset(
        key=key,
        deps=[PUBLISHED_KEY, audience_key(line.audience)],
        group_name=ACTIVATION_GROUP,
        owners=OWNERS,
        kinds={line.destination[:30]},
        description=f"{line.title}: {line.audience} to {line.destination}, {line.mode}.",
        output_required=False,
        # A retry goes on where the ledger stands: what was accepted is never sent again.
        retry_policy=dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL),
        check_specs=[
            dg.AssetCheckSpec(
                SENT_CHECK,
                asset=key,
                description="Nothing waits for a person: no run is held by a guard, no record is in doubt.",
            )
        ],
    )
    def push_line(
        context: dg.AssetExecutionContext, onlooker: Onlooker
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        def tell(_: Line, progress: Progress) -> None:
            waiting = f", waiting for {progress.waiting_for}" if progress.waiting_for else ""
            context.log.debug(f"{progress.done} of {progress.planned}{waiting}")

        desk = open_desk(onlooker.home, onlooker.settings, tell=tell)
        try:
            outcome = desk.push(line)
        finally:
            desk.close()
        told = outcome.to_dict()
        if outcome.run is not None and outcome.run.state == "failed":
            raise dg.Failure(f"{line.activation}: {outcome.run.reason}", metadata=_metadata(told))
        if outcome.awaits_approval or outcome.switched_off:
            context.log.warning(outcome.sentence)
        else:
            yield dg.MaterializeResult(asset_key=key, metadata=_metadata(told))
        yield dg.AssetCheckResult(
            passed=outcome.ok,
            asset_key=key,
            check_name=SENT_CHECK,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"sentence": outcome.sentence},
        )

    return push_line


def _metadata(told: Mapping[str, Any]) -> dict[str, Any]:
    names = ("added", "changed", "removed", "planned", "accepted", "rejected", "held")
    return {
        "run": told["run"] or "nothing to send",
        "state": told["state"],
        **{name: told[name] for name in names},
        "in doubt": told["in_doubt"],
        "held out": told["held_out"],
        "suppressed by reason": dg.MetadataValue.json(told["held_by"]),
        "rejected by code": dg.MetadataValue.json(told["rejected_by"]),
        "dagster/row_count": told["accepted"],
    }
