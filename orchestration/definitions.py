"""The one set of Dagster definitions: merges, no logic, no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from orchestration.activation.service import declared_lines
from orchestration.assets.activation import activation_assets, publication_check
from orchestration.assets.health import health_checks
from orchestration.assets.landing import landing_assets
from orchestration.assets.published import audience_file_assets, published_asset
from orchestration.assets.warehouse import warehouse_assets
from orchestration.home import DBT_PROJECT_DIR, Home
from orchestration.jobs import activation_job, main_job, state_check_job
from orchestration.partitions import business_days
from orchestration.publishing.exports import declared_exports
from orchestration.resources.workspace import Onlooker, WarehouseDbt, Workspace
from orchestration.schedules import activation_sensor, main_daily_schedule, state_check_schedule
from orchestration.settings import load_settings
from orchestration.warehouse.project import dbt_executable, ensure_manifest, published_models


def build_definitions(
    home: Home,
    *,
    settings_file: Path | None = None,
    overrides: Sequence[str] = (),
    purpose: str = "a scheduled run",
    wait: bool = True,
) -> dg.Definitions:
    """Everything Dagster knows about one home."""
    settings, _ = load_settings(home, settings_file=settings_file, overrides=overrides)
    manifest = ensure_manifest(home, settings)
    models = published_models(json.loads(manifest.read_text()))
    partitions = business_days(settings)
    job = main_job()
    state_check = state_check_job()
    activation = activation_job()
    return dg.Definitions(
        assets=[
            *landing_assets(partitions),
            warehouse_assets(manifest, partitions),
            published_asset(manifest, models["marts"] + models["private"], partitions),
            audience_file_assets(declared_exports(), partitions),
            *activation_assets(list(declared_lines().values())),
        ],
        jobs=[job, state_check, activation],
        sensors=[activation_sensor(job, activation)],
        schedules=[main_daily_schedule(job, home, settings), state_check_schedule(state_check, settings)],
        asset_checks=[health_checks(), publication_check()],
        resources={
            "workspace": Workspace(
                home_path=str(home.path),
                settings_file=str(settings_file) if settings_file else None,
                overrides=list(overrides),
                purpose=purpose,
                wait=wait,
            ),
            "onlooker": Onlooker(
                home_path=str(home.path),
                settings_file=str(settings_file) if settings_file else None,
                overrides=list(overrides),
                purpose=purpose,
            ),
            "dbt": WarehouseDbt(
                project_dir=str(DBT_PROJECT_DIR),
                profiles_dir=str(DBT_PROJECT_DIR),
                dbt_executable=dbt_executable(),
            ),
        },
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Definitions of the home named by JINGXI_HOME, for Dagster's own processes."""
    return build_definitions(Home.from_environment())
