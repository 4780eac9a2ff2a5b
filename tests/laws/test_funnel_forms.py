"""The forms of a funnel agree with each other, where the search over all chains is too slow to follow."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from orchestration.specs.funnel_sql import entries_sql
from orchestration.specs.funnels import Funnel
from tests.laws.funnel_support import declare, render

LETTERS = "abcdefghij"


def steps(count: int) -> tuple[dict[str, Any], ...]:
    return tuple({"name": f"s{letter}", "activity": letter} for letter in LETTERS[:count])


def entries(
    funnel: Funnel,
    *,
    streams: bool,
    count: int,
    users: int,
    first_key: int = 1,
    unit_us: int = 1_000_000,
    letters: int = 3,
) -> list[tuple[Any, ...]]:
    """Number, hash and levels of all entries over pseudo-random events; users without the offset of their key."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; set preserve_insertion_order = false; set threads = 4")
        connection.execute("set variable as_of = date '2026-03-01'")
        connection.execute(
            f"""
            create table int_funnels__events as
            select
                cast({first_key} + hash(n) % {users} as bigint) as user_key,
                substr('{LETTERS}', cast(1 + hash(n, 'activity') % {letters} as integer), 1) as activity,
                cast(1767200000000000 + (hash(n, 'moment') % 2000000) * {unit_us} as bigint) as occurred_us,
                cast(null as varchar) as channel,
                cast(null as varchar) as product_id
            from range({count}) as numbers(n)
            """
        )
        connection.execute(
            "create table int_identity__users as select distinct user_key, 'u' || user_key as user_id from int_funnels__events"
        )
        text = render(entries_sql(funnel), streams=streams)
        connection.execute(
            f"create table found as select columns(* exclude (user_id)), cast(substr(user_id, 2) as bigint) - {first_key} as who from ({text})"
        )
        return connection.execute(
            "select count(*), sum(cast(hash(found) as hugeint)), max(level), count(distinct level) from found"
        ).fetchall()


@pytest.mark.parametrize("strict_increase", [False, True])
@pytest.mark.parametrize("unit_us", [1_000_000, 1_000])
def test_one_pass_equals_windows_on_many_rows(strict_increase: bool, unit_us: int) -> None:
    """Enough rows for several row groups and threads; milliseconds take the wide packing."""
    funnel = declare(
        steps=steps(3), windows=("30m", "1d", "none"), period=("all", "day"), strict_increase=strict_increase
    )
    numbers = {"count": 200_000, "users": 20_000, "unit_us": unit_us}
    assert entries(funnel, streams=True, **numbers) == entries(funnel, streams=False, **numbers)


@pytest.mark.parametrize("count", [8, 9, 10])
def test_many_steps_take_one_bit_more(count: int) -> None:
    funnel = declare(steps=steps(count), windows=("10d", "none"), period=("all",))
    numbers = {"count": 20_000, "users": 100, "letters": count}
    found = entries(funnel, streams=True, **numbers)
    assert found == entries(funnel, streams=False, **numbers)
    assert found[0][2] == count


@pytest.mark.parametrize("first_key", [2**28 - 100, 2**40])
def test_keys_that_do_not_fit_take_the_wide_packing(first_key: int) -> None:
    """A key of 2^28 and more has no place beside the second and the step in 63 bits."""
    funnel = declare(steps=steps(3), windows=("1d", "none"), period=("all", "month"))
    numbers = {"count": 5_000, "users": 200}
    assert entries(funnel, streams=True, first_key=first_key, **numbers) == entries(
        funnel, streams=True, **numbers
    )


def test_rows_out_of_order_stop_the_build() -> None:
    """Should an engine lose the order on the way to the windows, nothing wrong is published."""
    funnel = declare(steps=steps(3), window="1d")
    text = render(entries_sql(funnel)).replace("order by code", "order by hash(code)")
    assert "hash(code)" in text
    with duckdb.connect() as connection:
        connection.execute("set variable as_of = date '2026-03-01'")
        connection.execute(
            "create table int_funnels__events as select n % 7 as user_key, 'a' as activity, 1767200000000000 + n * 1000000 as occurred_us "
            "from range(1000) as numbers(n)"
        )
        connection.execute(
            "create table int_identity__users as select n as user_key, n::varchar as user_id from range(7) as numbers(n)"
        )
        with pytest.raises(duckdb.Error, match="out of order"):
            connection.execute(text).fetchall()
