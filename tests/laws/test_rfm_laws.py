"""RFM in SQL equals RFM in plain Python, for random orders and refunds and every method."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, cast

import duckdb
import jinja2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

PROJECT = Path(__file__).parents[2]
DBT = PROJECT / "dbt_project"
AS_OF = dt.date(2026, 3, 31)
SCORINGS = ("quantile", "bounds")
SPLITS = ("mean", "median", "fixed", "raw_mean")
SETTINGS: dict[str, Any] = {
    name: value
    for name, value in yaml.safe_load((DBT / "dbt_project.yml").read_text())["vars"].items()
    if name.startswith("rfm_") or name.startswith("business_")
}


@dataclass(frozen=True)
class Order:
    user: str | None
    day: dt.date
    amount: Decimal
    refunded: Decimal = Decimal(0)
    paid: bool = True

    @property
    def is_fully_refunded(self) -> bool:
        return self.refunded > 0 and self.refunded >= self.amount


@dataclass(frozen=True)
class Refund:
    """A refund that names no order."""

    user: str
    day: dt.date
    amount: Decimal


@dataclass(frozen=True)
class Score:
    last_day: dt.date
    recency_days: int
    frequency: int
    monetary: Decimal
    scores: tuple[int, int, int]
    highs: tuple[bool, bool, bool]
    cell: str


# --- the models, rendered without dbt -------------------------------------------------------------------------------


class _Adapter:
    """Stands for dbt's adapter: finds the DuckDB form of a macro."""

    module: Any = None

    def dispatch(self, name: str) -> Any:
        return getattr(self.module, f"duckdb__{name}", None) or getattr(self.module, f"default__{name}")


@cache
def macros() -> str:
    """Text of the macros that the models of RFM use."""
    texts = [file.read_text() for file in sorted((DBT / "macros").rglob("*.sql"))]
    needed = r"macro (rfm_|(add_days|days_between|integer_divide|as_of)\()"
    return "\n".join(text for text in texts if re.search(needed, text))


def render(model: str, overrides: dict[str, Any]) -> str:
    """SQL of a model below models/, for DuckDB, with `overrides` over the default settings."""
    values = SETTINGS | overrides
    adapter = _Adapter()
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)
    environment.globals.update(
        adapter=adapter,
        var=values.__getitem__,
        ref=lambda name: name,
        **{"return": lambda value: value},
    )
    adapter.module = environment.from_string(macros()).module
    for name in dir(adapter.module):
        if not name.startswith("_"):
            environment.globals[name] = getattr(adapter.module, name)
    return environment.from_string((DBT / "models" / model).read_text()).render()


_CONNECTION = duckdb.connect()
_CONNECTION.execute(f"set variable as_of = date '{AS_OF}'")
_CONNECTION.execute("set threads = 1")
_CONNECTION.execute(
    "create table int_orders__resolved (user_id varchar, ordered_date date, amount decimal(18, 4), "
    "refunded_amount decimal(18, 4), is_paid boolean, is_fully_refunded boolean)"
)
_CONNECTION.execute(
    "create table int_refunds__resolved (user_id varchar, order_id varchar, refunded_date date, amount decimal(18, 4))"
)
_CONNECTION.execute(f"create table rfm_cells as from read_csv('{PROJECT / 'seeds/reference/rfm_cells.csv'}')")
_RENDERED: dict[tuple[tuple[str, str], ...], tuple[str, str]] = {}


def fill(table: str, rows: list[tuple[Any, ...]]) -> None:
    _CONNECTION.execute(f"delete from {table}")
    if rows:
        places = ", ".join("(" + ", ".join("?" * len(row)) + ")" for row in rows)
        _CONNECTION.execute(f"insert into {table} values {places}", [value for row in rows for value in row])


def scores_by_sql(orders: list[Order], refunds: list[Refund], method: dict[str, Any]) -> dict[str, Score]:
    key = tuple(sorted((name, str(value)) for name, value in method.items()))
    if key not in _RENDERED:
        _RENDERED[key] = (
            render("intermediate/rfm/int_rfm__buyers.sql", method),
            render("intermediate/rfm/int_rfm__scores.sql", method),
        )
    buyers, scores = _RENDERED[key]
    run = _CONNECTION.execute
    fill(
        "int_orders__resolved",
        [(o.user, o.day, o.amount, o.refunded, o.paid, o.is_fully_refunded) for o in orders],
    )
    fill("int_refunds__resolved", [(refund.user, None, refund.day, refund.amount) for refund in refunds])
    run(f"create or replace temp table int_rfm__buyers as {buyers}")
    rows = run(
        "select user_id, last_order_date, recency_days, frequency, monetary, r_score, f_score, m_score, "
        f"r_high, f_high, m_high, cell from ({scores})"
    ).fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: Score(row[1], row[2], row[3], row[4], row[5:8], row[8:11], row[11]) for row in rows}


# --- the same in plain Python ---------------------------------------------------------------------------------------

with (PROJECT / "seeds/reference/rfm_cells.csv").open(encoding="utf-8") as _file:
    CELLS = {
        cast(tuple[bool, bool, bool], tuple(row[f"{metric}_high"] == "true" for metric in "rfm")): row["cell"]
        for row in csv.DictReader(_file)
    }


def scores_by_hand(orders: list[Order], refunds: list[Refund], method: dict[str, Any]) -> dict[str, Score]:
    def chosen(name: str) -> Any:
        return (SETTINGS | method)[f"rfm_{name}"]

    first = AS_OF - dt.timedelta(days=chosen("window_days")) if chosen("window_days") else dt.date.min
    bought: dict[str, list[Order]] = defaultdict(list)
    for order in orders:
        if order.user and order.paid and not order.is_fully_refunded and first <= order.day <= AS_OF:
            bought[order.user].append(order)
    facts: dict[str, tuple[dt.date, int, Decimal]] = {}
    for user, own in bought.items():
        gross = sum((order.amount for order in own), Decimal(0))
        refunded = sum((order.refunded for order in own), Decimal(0)) + sum(
            (refund.amount for refund in refunds if refund.user == user and first <= refund.day <= AS_OF),
            Decimal(0),
        )
        days_count = len({order.day for order in own})
        frequency = days_count if chosen("frequency") == "days" else len(own)
        last_day = max(order.day for order in own)
        if chosen("monetary") == "gross":
            facts[user] = (last_day, frequency, gross)
        elif refunded == 0 or gross - refunded > 0:
            facts[user] = (last_day, frequency, gross - refunded)

    # More is better in each of the three.
    values = {
        user: (Fraction(-(AS_OF - last).days), Fraction(frequency), Fraction(money))
        for user, (last, frequency, money) in facts.items()
    }

    def score(user: str, metric: int) -> int:
        value = values[user][metric]
        if chosen("scoring") == "quantile":
            return 1 + 5 * sum(other[metric] < value for other in values.values()) // len(values)
        bounds: list[int] = chosen(("recency_bounds", "frequency_bounds", "monetary_bounds")[metric])
        if metric == 0:
            return 5 - sum(-value > bound for bound in bounds)
        return 1 + sum(value > bound for bound in bounds)

    points = {user: (score(user, 0), score(user, 1), score(user, 2)) for user in values}

    def high(user: str, metric: int) -> bool:
        if chosen("split") == "raw_mean":
            return values[user][metric] > sum(value[metric] for value in values.values()) / Fraction(
                len(values)
            )
        column = [point[metric] for point in points.values()]
        cut = {
            "mean": Fraction(sum(column), len(column)),
            "median": Fraction(median(column)),
            "fixed": Fraction(chosen("fixed_cut")),
        }[chosen("split")]
        return points[user][metric] > cut

    result = {}
    for user, (last_day, frequency, money) in facts.items():
        highs = (high(user, 0), high(user, 1), high(user, 2))
        result[user] = Score(
            last_day, (AS_OF - last_day).days, frequency, money, points[user], highs, CELLS[highs]
        )
    return result


# --- random shops ---------------------------------------------------------------------------------------------------

users = st.sampled_from([f"u{number}" for number in range(9)])
days = st.integers(-2, 100).map(lambda back: AS_OF - dt.timedelta(days=back))  # also days after as_of
amounts = st.one_of(
    st.sampled_from([Decimal(0), Decimal(100), Decimal(300)]),
    st.decimals(0, 4000, places=4, allow_nan=False, allow_infinity=False),
)


@st.composite
def order(draw: st.DrawFn) -> Order:
    amount = draw(amounts)
    share = draw(st.sampled_from(["none", "none", "none", "part", "all", "more"]))
    refunded = {
        "none": Decimal(0),
        "part": (amount / 2).quantize(Decimal("0.0001")),
        "all": amount,
        "more": amount + 1,
    }[share]
    return Order(
        draw(st.one_of(users, users, st.none())),
        draw(days),
        amount,
        refunded,
        draw(st.booleans()) or draw(st.booleans()),
    )


shops = st.tuples(
    st.lists(order(), max_size=25),
    st.lists(st.builds(Refund, users, days, amounts.map(lambda a: a / 4)), max_size=4),
).map(lambda shop: (shop[0], [replace(r, amount=r.amount.quantize(Decimal("0.0001"))) for r in shop[1]]))

METHODS = [
    {"rfm_scoring": scoring, "rfm_split": split} for scoring, split in itertools.product(SCORINGS, SPLITS)
]
measures = st.fixed_dictionaries(
    {
        "rfm_frequency": st.sampled_from(["days", "orders"]),
        "rfm_monetary": st.sampled_from(["net", "gross"]),
        "rfm_window_days": st.sampled_from([None, 30, 90]),
        "rfm_fixed_cut": st.sampled_from([3, 2.5, 4]),
    }
)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(method.values()))
@settings(max_examples=30, deadline=None)
@given(shop=shops, measure=measures)
def test_equals_plain_python(
    method: dict[str, Any], shop: tuple[list[Order], list[Refund]], measure: dict[str, Any]
) -> None:
    assert scores_by_sql(*shop, method | measure) == scores_by_hand(*shop, method | measure)


@settings(max_examples=30, deadline=None)
@given(shop=shops, user=users, day=days, measure=measures)
def test_one_more_order_never_lowers_frequency(
    shop: tuple[list[Order], list[Refund]], user: str, day: dt.date, measure: dict[str, Any]
) -> None:
    orders, refunds = shop
    before = scores_by_sql(orders, refunds, measure)
    after = scores_by_sql([*orders, Order(user, day, Decimal(1))], refunds, measure)
    for name, score in before.items():
        assert after[name].frequency >= score.frequency
    if user in before:
        assert after[user].scores[1] >= before[user].scores[1]
        assert after[user].recency_days <= before[user].recency_days


@settings(max_examples=30, deadline=None)
@given(shop=shops, method=st.sampled_from(METHODS), measure=measures)
def test_more_is_never_worse(
    shop: tuple[list[Order], list[Refund]], method: dict[str, Any], measure: dict[str, Any]
) -> None:
    found = list(scores_by_sql(*shop, method | measure).values())
    for one, other in itertools.permutations(found, 2):
        for metric, (less, more) in enumerate(zip(merits(one), merits(other), strict=True)):
            if less <= more:
                assert one.scores[metric] <= other.scores[metric]
                assert one.highs[metric] <= other.highs[metric]
            if less == more:
                assert one.scores[metric] == other.scores[metric]


def merits(score: Score) -> tuple[Decimal, Decimal, Decimal]:
    """Recency, frequency and money, so that more is better."""
    return Decimal(-score.recency_days), Decimal(score.frequency), score.monetary


def test_seventy_of_a_hundred_with_one_order_share_a_score() -> None:
    orders = [Order(f"u{n}", AS_OF, Decimal(n + 1)) for n in range(100)]
    orders += [
        Order(f"u{n}", AS_OF - dt.timedelta(days=extra), Decimal(1))
        for n in range(70, 100)
        for extra in range(1, n - 68)
    ]
    found = scores_by_sql(orders, [], {})
    assert {score.scores[1] for name, score in found.items() if int(name[1:]) < 70} == {1}
    assert sorted({score.scores[1] for score in found.values()}) == [1, 4, 5]  # 2 and 3 are out of reach


def test_the_eight_cells_are_all_different() -> None:
    assert len(CELLS) == len(set(CELLS.values())) == 8


@pytest.mark.parametrize("name", ["frequency", "monetary", "scoring", "split"])
def test_an_unknown_method_is_refused(name: str) -> None:
    with pytest.raises(jinja2.exceptions.UndefinedError):  # dbt's `exceptions` says it in words
        render("intermediate/rfm/int_rfm__buyers.sql", {f"rfm_{name}": "x"})
        render("intermediate/rfm/int_rfm__scores.sql", {f"rfm_{name}": "x"})


@pytest.fixture(autouse=True, scope="module")
def _close() -> Iterator[None]:
    yield
    _CONNECTION.close()
