"""The next category in SQL equals plain Python, for random purchases."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping
from fractions import Fraction

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.test_cycle_laws import render

AS_OF = dt.date(2026, 6, 30)
PRIOR, LEAST, SAMPLE, TEST_DAYS = 3, 2, 5, 20
TESTED_ON = AS_OF - dt.timedelta(days=TEST_DAYS)
CATEGORIES = ("cake", "coffee", "tea", "Wein", "茶具")
VARIABLES = {
    "next_category_prior_customers": PRIOR,
    "next_category_min_customers": LEAST,
    "next_category_sample_customers": SAMPLE,
    "next_category_test_days": TEST_DAYS,
}
MODELS = {
    name.rpartition("/")[2]: render(f"{name}.sql", VARIABLES)
    for name in (
        "intermediate/cycles/int_cycles__category_days",
        "marts/cycles/next_category_shares",
        "intermediate/cycles/int_cycles__next_categories",
        "marts/cycles/next_category_hits",
    )
}

_CONNECTION = duckdb.connect()
_CONNECTION.execute(f"set variable as_of = date '{AS_OF}'; set threads = 1")
_CONNECTION.execute(
    "create table int_cycles__purchases (user_id varchar, product_id varchar, purchase_date date);"
    "create table user_order_cycle (user_id varchar);"
    "create table stg_raw__products (product_id varchar, category_l1 varchar);"
    "insert into stg_raw__products values ('nothing', null)"
)
_CONNECTION.executemany("insert into stg_raw__products values (?, ?)", [(name, name) for name in CATEGORIES])

Days = dict[dt.date, frozenset[str]]
Shares = Mapping[str, Mapping[str, Fraction]]

baskets = st.frozensets(st.sampled_from([*CATEGORIES, "nothing"]), min_size=1, max_size=3)
customer = st.dictionaries(
    st.integers(0, 40).map(lambda back: AS_OF - dt.timedelta(days=back)), baskets, max_size=7
)


def steps_of(days: Days) -> list[tuple[frozenset[str], frozenset[str]]]:
    """What was bought on each day and on the next one."""
    return list(itertools.pairwise(days[day] for day in sorted(days)))


def fit(customers: list[Days]) -> tuple[Shares, dict[str, int], dict[str, Fraction]]:
    """Shares of what comes after each category, customers behind them, base shares."""
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    counts: Counter[str] = Counter()
    for days in customers:
        followed: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for earlier, later in steps_of(days):
            for category in earlier:
                followed[category].update(later)
        for category, nexts in followed.items():
            counts[category] += 1
            for name, number in nexts.items():
                votes[category][name] += Fraction(number, nexts.total())  # type: ignore[assignment]
    base: Counter[str] = Counter()
    for nexts in votes.values():
        base.update(nexts)
    whole = sum(base.values())
    base_shares = {name: Fraction(value) / whole for name, value in base.items()}
    shares = {
        category: {
            name: (nexts[name] + PRIOR * base_share) / (counts[category] + PRIOR)
            for name, base_share in base_shares.items()
        }
        for category, nexts in votes.items()
    }
    return shares, counts, base_shares


def near(found: object, wanted: Fraction | None) -> bool:
    """Whether a number of the mart is the exact one, rounded to six digits from votes of nine."""
    if found is None or wanted is None:
        return found is None and wanted is None
    return abs(Fraction(str(found)) - wanted) < Fraction(6, 10**7)


def predicted(
    days: Days, shares: Shares, counts: Mapping[str, int], base: Mapping[str, Fraction]
) -> str | None:
    """The next category by shares and base shares as they are published."""
    used = [category for category in days[max(days)] if counts.get(category, 0) >= LEAST] if days else []
    if not used:
        return None
    return min(base, key=lambda name: (-sum(shares[c][name] for c in used), -base[name], name.encode()))


@settings(max_examples=100, deadline=None)
@given(st.lists(customer, min_size=1, max_size=9))
def test_next_categories_are_those_of_the_reference(customers: list[Days]) -> None:
    _CONNECTION.execute("delete from int_cycles__purchases; delete from user_order_cycle")
    rows = [
        (f"u{number}", product, day)
        for number, days in enumerate(customers)
        for day, products in days.items()
        for product in products
    ]
    if rows:
        _CONNECTION.executemany("insert into int_cycles__purchases values (?, ?, ?)", rows)
    _CONNECTION.execute("insert into user_order_cycle select distinct user_id from int_cycles__purchases")
    for name, sql in MODELS.items():
        _CONNECTION.execute(f"create or replace temp table {name} as {sql}")

    kept = {
        f"u{number}": {day: known for day, names in days.items() if (known := names - {"nothing"})}
        for number, days in enumerate(customers)
    }
    sample = [f"u{number}" for number, days in enumerate(customers) if days][:SAMPLE]
    then = {user: {day: names for day, names in kept[user].items() if day <= TESTED_ON} for user in sample}
    shares, counts, base = fit([kept[user] for user in sample])
    shares_then, counts_then, base_then = fit(list(then.values()))

    table = _CONNECTION.execute(
        "select category, next_category, customers_count, is_used, base_share, share, customers_count_then, "
        "is_used_then, base_share_then, share_then from next_category_shares"
    ).fetchall()
    assert {row[:2] for row in table} == {(category, name) for category in shares for name in base}
    for category, name, *numbers in table:
        assert numbers[0] == counts[category] and numbers[1] == (counts[category] >= LEAST)
        assert near(numbers[2], base[name]) and near(numbers[3], shares[category][name])
        was = counts_then.get(category, 0)
        assert numbers[4] == was and numbers[5] == (was >= LEAST)
        assert near(numbers[6], base_then.get(name, Fraction(0)) if base_then else None)
        assert near(numbers[7], shares_then[category].get(name, Fraction(0)) if was else None)

    # Predictions follow the published shares: exact sums of what the table says.
    def published(share: int, base_share: int) -> tuple[Shares, dict[str, Fraction]]:
        by_category: defaultdict[str, dict[str, Fraction]] = defaultdict(dict)
        for row in table:
            if row[share] is not None:
                by_category[row[0]][row[1]] = Fraction(str(row[share]))
        return by_category, {
            row[1]: Fraction(str(row[base_share])) for row in table if row[base_share] is not None
        }

    now_shares, now_base = published(5, 4)
    test_shares, test_base = published(9, 8)
    wanted = {
        (user, False): choice
        for user, days in kept.items()
        if (choice := predicted(days, now_shares, counts, now_base))
    } | {
        (user, True): choice
        for user, days in then.items()
        if (choice := predicted(days, test_shares, counts_then, test_base))
    }
    assert wanted == {
        (user, is_test): name
        for user, is_test, name in _CONNECTION.execute(
            "select user_id, is_test, next_category from int_cycles__next_categories"
        ).fetchall()
    }

    judged: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    named = min(test_base, key=lambda name: (-test_base[name], name.encode())) if test_base else ""
    for (user, is_test), name in wanted.items():
        following = [day for day in sorted(kept[user]) if day > TESTED_ON]
        if is_test and following:
            bought = kept[user][following[0]]
            for place, value in enumerate((1, name in bought, named in bought)):
                judged[name][place] += value
    assert {name: tuple(numbers) for name, numbers in judged.items()} == {
        name: numbers
        for name, *numbers_ in _CONNECTION.execute(
            "select next_category, customers_count, hits_count, baseline_hits_count from next_category_hits"
        ).fetchall()
        for numbers in [tuple(numbers_)]
    }
