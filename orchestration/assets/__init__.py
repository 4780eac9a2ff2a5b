"""Dagster assets."""

import warnings

from dagster_shared.utils.warnings import BetaWarning

# The version of Dagster is pinned, so what is still called beta there cannot change under us.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=BetaWarning)
