"""Purchase cycles in SQL equal the product-limit estimate in plain Python, for random purchases."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

DBT = Path(__file__).parents[2] / "dbt_project"
AS_OF = dt.date(2026, 3, 31)
VARIABLES = yaml.safe_load((DBT / "dbt_project.yml").read_text())["vars"]
MACROS = ("add_days", "as_of", "censored_median", "computed_once", "days_between", "row_hash")

_CONNECTION = duckdb.connect()
_CONNECTION.execute(f"set variable as_of = date '{AS_OF}'; set threads = 1")
_CONNECTION.execute(
    "create table int_orders__resolved (user_id varchar, ordered_date date, is_paid boolean, is_fully_refunded boolean);"
    "create table int_cycles__purchases (user_id varchar, product_id varchar, purchase_date date, "
    "quantity decimal(18, 4), amount decimal(18, 4));"
    "create table stg_raw__products (product_id varchar, consumption_days bigint)"
)


class _Adapter:
    """Stands for dbt's adapter: finds the DuckDB form of a macro."""

    module: Any = None

    def dispatch(self, name: str) -> Any:
        return getattr(self.module, f"duckdb__{name}", None) or getattr(self.module, f"default__{name}")


def render(model: str, variables: Mapping[str, Any] = VARIABLES) -> str:
    """SQL of a model below models/, for DuckDB, by default with the default settings."""
    adapter = _Adapter()
    environment = jinja2.Environment(autoescape=False)
    environment.globals.update(
        adapter=adapter,
        var=variables.__getitem__,
        ref=lambda name: name,
        dbt=SimpleNamespace(type_string=lambda: "varchar"),
        **{"return": lambda value: value},
    )
    texts = [(DBT / "macros" / f"{name}.sql").read_text() for name in MACROS]
    adapter.module = environment.from_string("\n".join(texts)).module
    for name in MACROS:
        environment.globals[name] = getattr(adapter.module, name)
    return environment.from_string((DBT / "models" / model).read_text()).render()


ORDER_CYCLE = render("marts/cycles/user_order_cycle.sql")
PURCHASE_CYCLE = render("marts/cycles/user_purchase_cycle.sql")


def product_limit_median(closed: list[int], open_days: int) -> int | None:
    """Kaplan and Meier: at each time that ends intervals, survival falls by ended / at risk."""
    survival = Fraction(1)
    for time in sorted(set(closed)):
        at_risk = sum(days >= time for days in [*closed, open_days])
        survival *= 1 - Fraction(closed.count(time), at_risk)
        if survival <= Fraction(1, 2):
            return time
    return None


# Back from as_of, so that open intervals shorter and longer than the closed ones are both common.
days = st.sets(st.integers(0, 60), min_size=1, max_size=12).map(
    lambda backs: sorted(AS_OF - dt.timedelta(days=back) for back in backs)
)


def _gaps(dates: list[dt.date]) -> list[int]:
    return [(later - earlier).days for earlier, later in itertools.pairwise(dates)]


@settings(max_examples=150, deadline=None)
@given(st.lists(days, min_size=1, max_size=5))
def test_order_cycles_are_the_product_limit_estimate(users: list[list[dt.date]]) -> None:
    _CONNECTION.execute("delete from int_orders__resolved")
    _CONNECTION.executemany(
        "insert into int_orders__resolved values (?, ?, true, false)",
        [(f"u{number}", day) for number, dates in enumerate(users) for day in dates],
    )
    found = _CONNECTION.execute(
        "select expected_interval_days, expected_next_date, overdue_days, mean_interval_days, second_order_date "
        f"from ({ORDER_CYCLE}) order by user_id"
    ).fetchall()
    expected: list[tuple[Any, ...]] = []
    for dates in users:
        open_days = (AS_OF - dates[-1]).days
        median = product_limit_median(_gaps(dates), open_days)
        if median is None:
            assert len(dates) == 1
            expected.append((None, None, None, None, None))
            continue
        due = dates[-1] + dt.timedelta(days=median)
        mean = Fraction((AS_OF - dates[0]).days, len(dates) - 1)
        expected.append((median, due, (AS_OF - due).days, mean, dates[1]))
    assert [row[:3] + row[4:] for row in found] == [row[:3] + row[4:] for row in expected]
    for row, (_, _, _, mean, _) in zip(found, expected, strict=True):
        assert (row[3] is None) == (mean is None)
        assert mean is None or abs(Fraction(row[3]) - mean) <= Fraction(1, 200)


@settings(max_examples=100, deadline=None)
@given(days, st.integers(1, 9), st.one_of(st.none(), st.integers(-1, 90)))
def test_what_a_product_says_counts_like_two_intervals(
    dates: list[dt.date], quantity: int, consumption: int | None
) -> None:
    _CONNECTION.execute("delete from int_cycles__purchases; delete from stg_raw__products")
    _CONNECTION.executemany(
        "insert into int_cycles__purchases values ('u', 'p', ?, ?, 10)",
        [(day, quantity if day == dates[-1] else 1) for day in dates],
    )
    _CONNECTION.execute("insert into stg_raw__products values ('p', ?)", [consumption])
    (row,) = _CONNECTION.execute(
        f"select median_interval_days, expected_interval_days, expected_next_date from ({PURCHASE_CYCLE})"
    ).fetchall()
    median = product_limit_median(_gaps(dates), (AS_OF - dates[-1]).days)
    supply = consumption * quantity if consumption and consumption > 0 else None
    count = len(dates) - 1
    assert row[0] == median
    if supply is None or median is None:
        wanted = Fraction(supply or median or 0)
    else:
        wanted = Fraction(2 * supply + count * median, 2 + count)
    if wanted == 0:
        assert row[1:] == (None, None)
    else:
        assert abs(row[1] - wanted) <= Fraction(1, 2)
        assert row[2] == dates[-1] + dt.timedelta(days=row[1])
