"""Business days as partitions: the key of a partition is the run's `as_of`."""

from __future__ import annotations

import dagster as dg

from orchestration.settings import Settings


def business_days(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Every business day from the first one up to today, in business time."""
    return dg.DailyPartitionsDefinition(
        start_date=settings.schedule.first_day.isoformat(),
        timezone=settings.business_timezone,
        end_offset=1,
    )
