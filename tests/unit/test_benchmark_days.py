"""Which days the benchmark of the wide table measures, and what it takes for the mean of a month."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from orchestration.ingestion.simulator.run import DEFAULT_END, MONTH
from tests.benchmarks.wide import IN_A_MONTH, Cost, files_of, mean_day, measured_days


def test_a_day_bears_the_files_that_the_simulator_writes_on_it() -> None:
    days = [DEFAULT_END - dt.timedelta(days=number) for number in (0, 1, 7, 28, 30, 60, 210)]
    assert [files_of(day) for day in days] == [
        "month",
        "ordinary",
        "week",
        "week",
        "month",
        "month",
        "month",
    ]


@pytest.mark.parametrize("history", [100, 150, 365, 400])
def test_the_days_measured_are_one_of_each_kind_near_the_history_asked_for(history: int) -> None:
    about = DEFAULT_END - dt.timedelta(days=400 + MONTH - history)
    days = measured_days(about)
    assert [later - day for day, later in itertools.pairwise(days)] == [dt.timedelta(days=1)] * 3
    assert sorted(map(files_of, days)) == ["month", "ordinary", "ordinary", "week"]
    assert any(day.isoweekday() == 1 for day in days)
    assert abs((days[0] - about).days) <= MONTH
    assert days[-1] < DEFAULT_END


def test_the_mean_of_a_month_counts_each_kind_of_day_as_often_as_it_comes() -> None:
    costs = [
        ("month", Cost(300, 30)),
        ("ordinary", Cost(10, 1)),
        ("week", Cost(70, 7)),
        ("ordinary", Cost(20, 2)),
    ]
    mean = mean_day(costs, IN_A_MONTH)
    # 1 day of 300, 30/7 of 70, and of the other 30 - 1 - 30/7 the mean of 10 and 20.
    expected = (300 + 30 / 7 * 70 + (29 - 30 / 7) * 15) / 30
    assert mean.wall == pytest.approx(expected)
    assert mean.processor == pytest.approx(expected / 10)
    with pytest.raises(ValueError, match="no day measured is month"):
        mean_day(costs[1:], IN_A_MONTH)
