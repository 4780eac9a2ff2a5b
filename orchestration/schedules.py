"""When the main job runs by itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.home import Home
from orchestration.publishing.publish import published_as
from orchestration.settings import Settings

MOST_DAYS_AT_ONCE = 31


def days_to_run(published: dt.date | None, yesterday: dt.date) -> list[dt.date]:
    """Business days not yet done, oldest first: all after the published one up to yesterday.

    A home that has published nothing starts with yesterday. After very long downtime only the last days are run;
    the others can be back-filled.
    """
    if published is None:
        return [yesterday]
    first = max(published + dt.timedelta(days=1), yesterday - dt.timedelta(days=MOST_DAYS_AT_ONCE - 1))
    return [first + dt.timedelta(days=back) for back in range((yesterday - first).days + 1)]


def state_check_schedule(job: dg.JobDefinition, settings: Settings) -> dg.ScheduleDefinition:
    """Each Sunday, an hour after the daily run would start."""
    return dg.ScheduleDefinition(
        name="state_check_schedule",
        job=job,
        cron_schedule=f"{settings.schedule.minute} {(settings.schedule.hour + 1) % 24} * * 0",
        execution_timezone=settings.business_timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Compares the running state with a rebuild once a week.",
    )


def activation_sensor(
    main: UnresolvedAssetJobDefinition, activation: UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    """After each main job that ended well. Stopped until somebody starts it: nothing leaves the machine by itself."""

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="activation_sensor",
        monitored_jobs=[main],
        request_job=activation,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Pushes every activation line when a business day was published.",
    )
    def activation_after_publication(context: dg.RunStatusSensorContext) -> dg.RunRequest:
        return dg.RunRequest(run_key=context.dagster_run.run_id)

    return activation_after_publication


def main_daily_schedule(
    job: UnresolvedAssetJobDefinition, home: Home, settings: Settings
) -> dg.ScheduleDefinition:
    """Each night, every business day that is not done yet (after downtime there may be several)."""

    @dg.schedule(
        name="main_daily_schedule",
        job=job,
        cron_schedule=f"{settings.schedule.minute} {settings.schedule.hour} * * *",
        execution_timezone=settings.business_timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Runs the main job for each complete business day that is not done yet.",
    )
    def main_daily(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        today = context.scheduled_execution_time.astimezone(settings.zone).date()
        published = published_as(home)
        days = days_to_run(published[0] if published else None, today - dt.timedelta(days=1))
        if not days:
            yield dg.SkipReason("Every complete business day is done.")
        for day in days:
            yield dg.RunRequest(run_key=f"{today}/{day}", partition_key=day.isoformat())

    return main_daily
