"""The main job: landing to audience files, one business day per run."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

MAIN_JOB = "main_job"
# Runs that carry this tag wait for each other in the queue.
WRITER_TAG = {"jingxi/writer": "home"}


def main_job(partitions: dg.PartitionsDefinition[str]) -> UnresolvedAssetJobDefinition:
    """Everything, in one process: dbt and DuckDB use the cores themselves, and one process holds the lock."""
    return dg.define_asset_job(
        MAIN_JOB,
        selection=dg.AssetSelection.all(),
        partitions_def=partitions,
        executor_def=dg.in_process_executor,
        tags={**WRITER_TAG, "dagster/max_retries": "2", "dagster/retry_strategy": "ALL_STEPS"},
        description="Take in what landed, build and test the warehouse for one business day, publish, write "
        "audience files.",
    )
