"""The main job: landing to audience files, one business day per run."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.assets.activation import ACTIVATION_GROUP, WHOLE_CHECK
from orchestration.assets.published import PUBLISHED_KEY
from orchestration.errors import BuildError
from orchestration.resources.workspace import Workspace
from orchestration.warehouse.state_check import check_state

MAIN_JOB = "main_job"
STATE_CHECK_JOB = "state_check_job"
ACTIVATION_JOB = "activation_job"
# Runs that carry this tag wait for each other in the queue.
WRITER_TAG = {"jingxi/writer": "home"}


def main_job() -> UnresolvedAssetJobDefinition:
    """Everything, in one process: dbt and DuckDB use the cores themselves, and one process holds the lock.

    Partitioned as its assets are: by business day.
    """
    return dg.define_asset_job(
        MAIN_JOB,
        selection=dg.AssetSelection.all() - _activation(),
        executor_def=dg.in_process_executor,
        tags={**WRITER_TAG, "dagster/max_retries": "2", "dagster/retry_strategy": "ALL_STEPS"},
        description="Take in what landed, build and test the warehouse for one business day, publish, write "
        "audience files.",
    )


def _activation() -> dg.AssetSelection:
    """The lines, and the check that comes before them."""
    return dg.AssetSelection.groups(ACTIVATION_GROUP) | dg.AssetSelection.checks(
        dg.AssetCheckKey(PUBLISHED_KEY, WHOLE_CHECK)
    )


def activation_job() -> UnresolvedAssetJobDefinition:
    """Every activation line, after the main job and apart from it: it holds no lock of the home, may take hours, and what
    it does cannot be taken back, so it never runs because somebody builds."""
    return dg.define_asset_job(
        ACTIVATION_JOB,
        selection=_activation(),
        executor_def=dg.in_process_executor,
        tags={"jingxi/sender": "home"},
        description="Send what is new, changed or gone since the last time to each destination; nothing twice.",
    )


@dg.op(description="Rebuilds the wide table beside the running state and compares them row by row.")
def state_equals_rebuild(context: dg.OpExecutionContext, workspace: Workspace) -> None:
    """Fails, naming columns and numbers of users, when what is taken from day to day has gone astray."""
    outcome = check_state(workspace.home, workspace.settings)
    context.add_output_metadata(
        {"as of": str(outcome.as_of), "users": outcome.compared, "users that differ": outcome.users}
    )
    if not outcome.is_equal:
        raise BuildError(str(outcome))
    context.log.info(str(outcome))


def state_check_job() -> dg.JobDefinition:
    """The running state against a rebuild; holds the home's lock meanwhile."""
    return dg.GraphDefinition(name=STATE_CHECK_JOB, node_defs=[state_equals_rebuild]).to_job(
        executor_def=dg.in_process_executor,
        tags=WRITER_TAG,
        description="Rebuild the wide table from the raw files in a place of its own and compare it with what is taken "
        "from day to day; any difference fails.",
    )
