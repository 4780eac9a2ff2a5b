"""The next step moves the cell and one unit less does not, for every method, against plain Python."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from statistics import median
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.laws.test_rfm_laws import CELLS, METHODS, PROJECT, SETTINGS, render

AS_OF = dt.date(2026, 3, 31)
METRICS = ("recency", "frequency", "monetary")
Buyer = tuple[int, int, Decimal]  # recency_days, frequency, monetary
Merit = tuple[int, int, int]  # more is better; days negative, money in ten thousandths
UNIT = (1, 1, 100)  # what "one unit less" means: a day, an order, a hundredth

_CONNECTION = duckdb.connect()
_CONNECTION.execute(f"set threads = 1; set variable as_of = date '{AS_OF}'")
_CONNECTION.execute(
    "create table int_rfm__buyers (user_id varchar, first_order_date date, last_order_date date, "
    "recency_days integer, frequency integer, monetary decimal(18, 4))"
)
_CONNECTION.execute(f"create table rfm_cells as from read_csv('{PROJECT / 'seeds/reference/rfm_cells.csv'}')")
_SQL: dict[str, tuple[str, str]] = {}


@pytest.fixture(autouse=True, scope="module")
def _close() -> Iterator[None]:
    yield
    _CONNECTION.close()


def steps_by_sql(buyers: list[Buyer], method: dict[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    """Rows of rfm_next_step by buyer and metric."""
    run = _CONNECTION.execute
    if str(method) not in _SQL:
        _SQL[str(method)] = (
            render("intermediate/rfm/int_rfm__scores.sql", method),
            render("marts/segments/rfm_next_step.sql", method),
        )
    scores, steps = _SQL[str(method)]
    run("delete from int_rfm__buyers")
    for number, (days, frequency, money) in enumerate(buyers):
        day = AS_OF - dt.timedelta(days=days)
        run(
            "insert into int_rfm__buyers values (?, ?, ?, ?, ?, ?)",
            [number, day, day, days, frequency, money],
        )
    run(f"create or replace temp table int_rfm__scores as {scores}")
    found = run(steps)
    names = [column[0] for column in found.description]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert len({(row["user_id"], row["metric"]) for row in rows}) == len(rows)
    return {(int(row["user_id"]), row["metric"]): row for row in rows}


def is_high(values: list[int], own: int, metric: int, method: dict[str, Any]) -> bool:
    """Whether `own`, a place in `values`, is high in this metric."""
    if method["rfm_split"] == "raw_mean":
        return values[own] > Fraction(sum(values), len(values))

    def score(value: int) -> int:
        if method["rfm_scoring"] == "quantile":
            return 1 + 5 * sum(other < value for other in values) // len(values)
        bounds: list[float] = SETTINGS[f"rfm_{METRICS[metric]}_bounds"]
        if metric == 0:
            return 5 - sum(-value > bound for bound in bounds)
        return 1 + sum(value > bound * (10_000 if metric == 2 else 1) for bound in bounds)

    scores = [score(value) for value in values]
    cut = {
        "mean": lambda: Fraction(sum(scores), len(scores)),
        "median": lambda: Fraction(median(scores)),
        "fixed": lambda: Fraction(SETTINGS["rfm_fixed_cut"]),
    }[method["rfm_split"]]()
    return scores[own] > cut


money = st.one_of(
    st.sampled_from([Decimal(0), Decimal(100), Decimal(300), Decimal("300.0001")]),
    st.decimals(0, 4000, places=4, allow_nan=False, allow_infinity=False),
)
# Like CDNOW: many bought once, so that most scores of frequency are held by nobody.
buyer = st.tuples(st.integers(0, 300), st.sampled_from([1, 1, 1, 1, 2, 2, 3, 4, 5, 9, 12]), money)
shops = st.lists(buyer, max_size=14)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(method.values()))
@settings(max_examples=25, deadline=None)
@given(buyers=shops)
@example(buyers=[])
@example(buyers=[(3, 1, Decimal(5))])
@example(buyers=[(3, 1, Decimal(5))] * 4)
def test_a_step_moves_the_cell_and_one_unit_less_does_not(
    method: dict[str, Any], buyers: list[Buyer]
) -> None:
    steps = steps_by_sql(buyers, method)
    merits: list[Merit] = [(-days, times, int(amount * 10_000)) for days, times, amount in buyers]
    low = set()
    for number, metric in itertools.product(range(len(buyers)), range(3)):
        values = [merit[metric] for merit in merits]
        highs = tuple(is_high([m[k] for m in merits], number, k, method) for k in range(3))
        if highs[metric]:
            continue
        low.add((number, METRICS[metric]))
        row = steps[number, METRICS[metric]]
        to_highs = tuple(k == metric or highs[k] for k in range(3))
        assert row["cell"] == CELLS[highs[0], highs[1], highs[2]]
        assert row["to_cell"] == CELLS[to_highs[0], to_highs[1], to_highs[2]]

        def after(value: int, values: list[int] = values, own: int = number, k: int = metric) -> bool:
            return is_high([*values[:own], value, *values[own + 1 :]], own, k, method)

        if row["is_reachable"]:
            change = int(row["gap"] * (10_000 if metric == 2 else 1))
            assert change > 0
            assert after(values[number] + change)
            assert not after(values[number] + change - UNIT[metric])
        else:
            assert row["gap"] is None
            assert not after(0 if metric == 0 else 10**9)
    assert steps.keys() == low


@settings(max_examples=15, deadline=None)
@given(buyers=shops, method=st.sampled_from(METHODS))
def test_steps_are_ranked_by_the_orders_they_take(buyers: list[Buyer], method: dict[str, Any]) -> None:
    by_user: dict[int, list[dict[str, Any]]] = {}
    for (number, _), row in steps_by_sql(buyers, method).items():
        by_user.setdefault(number, []).append(row)
    for rows in by_user.values():
        rows.sort(key=lambda row: row["step_rank"])
        assert [row["step_rank"] for row in rows] == list(range(1, len(rows) + 1))
        takes = [row["orders_needed"] for row in rows if row["is_reachable"]]
        assert takes == sorted(takes)
        assert all(number >= 1 for number in takes)
        assert [row["is_reachable"] for row in rows] == sorted(
            (row["is_reachable"] for row in rows), reverse=True
        )
        assert all((row["by_date"] is None) == (not row["is_reachable"]) for row in rows)
