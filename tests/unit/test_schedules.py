from __future__ import annotations

import datetime as dt

from orchestration.schedules import MOST_DAYS_AT_ONCE, days_to_run

YESTERDAY = dt.date(2026, 6, 30)


def test_a_new_home_starts_with_yesterday() -> None:
    assert days_to_run(None, YESTERDAY) == [YESTERDAY]


def test_every_day_missed_is_run_oldest_first() -> None:
    assert days_to_run(dt.date(2026, 6, 27), YESTERDAY) == [
        dt.date(2026, 6, 28),
        dt.date(2026, 6, 29),
        dt.date(2026, 6, 30),
    ]


def test_a_day_that_is_done_is_not_run_again() -> None:
    assert days_to_run(YESTERDAY, YESTERDAY) == []
    assert days_to_run(dt.date(2026, 7, 2), YESTERDAY) == []


def test_very_long_downtime_is_bounded() -> None:
    days = days_to_run(dt.date(2020, 1, 1), YESTERDAY)
    assert len(days) == MOST_DAYS_AT_ONCE
    assert days[-1] == YESTERDAY
