"""Declared funnels on real data: counts and levels that others computed with other means."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.specs.documents import read_document
from orchestration.specs.funnel_sql import entries_sql
from orchestration.specs.funnels import Funnel, read_funnel
from tests.laws.funnel_support import render

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.shared


def declared(name: str) -> Funnel:
    file = ROOT / "dbt_project" / "specs" / "funnels" / f"{name}.yml"
    return read_funnel(read_document(file, file.name))


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("set timezone = 'UTC'")
        opened.execute("set variable as_of = date '2018-12-31'")
        yield opened


def prepare(connection: duckdb.DuckDBPyConnection, data: Path, activities: str) -> None:
    """The tables that a funnel reads, from rows user_id, activity, occurred_us, channel, product_id."""
    connection.execute(f"create table activities as {activities.format(data=data)}")
    connection.execute(
        "create table int_identity__users as "
        "select user_id, row_number() over (order by user_id) as user_key from (select distinct user_id from activities)"
    )
    connection.execute(
        "create table int_funnels__events as select user_key, activities.* exclude (user_id) "
        "from activities join int_identity__users using (user_id)"
    )


RETAILROCKET = """
    select
        cast(user_id as varchar) as user_id,
        event_type as activity,
        event_ts * 1000000 as occurred_us,
        cast(null as varchar) as channel,
        cast(item_id as varchar) as product_id
    from read_csv('{data}/retailrocket/events.csv')
"""

# Seconds of the day are real; the days of first contact stand at 00:00.
OLIST = """
    with
        leads as (from read_csv('{data}/olist_leads/olist_marketing_qualified_leads_dataset.csv')),
        deals as (from read_csv('{data}/olist_leads/olist_closed_deals_dataset.csv'))
    select mql_id as user_id, 'lead_created' as activity, epoch_us(cast(first_contact_date as timestamp)) as occurred_us,
        origin as channel, cast(null as varchar) as product_id
    from leads
    union all
    select mql_id, 'lead_won', epoch_us(cast(won_date as timestamp)), null, null from deals
"""


def reached(connection: duckdb.DuckDBPyConnection, funnel: Funnel, *, streams: bool) -> dict[str, list[int]]:
    """Users per step of each window."""
    connection.execute(f"create or replace table entries as {render(entries_sql(funnel), streams=streams)}")
    steps = range(1, len(funnel.steps) + 1)
    counts = ", ".join(f"count(*) filter (where level >= {step})" for step in steps)
    # The best of a key over all entry units is its level.
    query = f"""
        select funnel, {counts}
        from (select funnel, user_id, correlation_value, max(level) as level from entries group by all)
        group by funnel"""
    return {name: list(numbers) for name, *numbers in connection.execute(query).fetchall()}


@pytest.mark.parametrize("streams", [True, False])
def test_retailrocket_view_cart_buy_within_a_week(
    connection: duckdb.DuckDBPyConnection, shared_data: Path, streams: bool
) -> None:
    prepare(connection, shared_data, RETAILROCKET)
    funnel = declared("shop_view_cart_buy")
    assert reached(connection, funnel, streams=streams) == {"shop_view_cart_buy": [2083, 1786, 1709]}
    oracle = shared_data / "oracles" / "funnel_retailrocket_user_7d_default_per_key.csv"
    different = connection.execute(
        f"""
        with
            ours as (select user_id, max(level) as level from entries group by user_id),
            theirs as (from read_csv('{oracle}', types = {{'key': 'varchar'}}))
        select count(*), count(*) filter (where coalesce(ours.level, 0) <> level_python_bruteforce)
        from theirs left join ours on ours.user_id = theirs.key
        """
    ).fetchone()
    assert different == (2174, 0)


@pytest.mark.parametrize("streams", [True, False])
def test_retailrocket_view_cart_buy_of_the_same_product(
    connection: duckdb.DuckDBPyConnection, shared_data: Path, streams: bool
) -> None:
    prepare(connection, shared_data, RETAILROCKET)
    funnel = declared("shop_view_cart_buy_product")
    assert reached(connection, funnel, streams=streams) == {"shop_view_cart_buy_product": [75374, 7469, 5427]}


@pytest.mark.parametrize("streams", [True, False])
def test_olist_deals_within_days_of_the_first_contact(
    connection: duckdb.DuckDBPyConnection, shared_data: Path, streams: bool
) -> None:
    prepare(connection, shared_data, OLIST)
    assert reached(connection, declared("lead_to_deal"), streams=streams) == {
        "lead_to_deal_7d": [8000, 248],
        "lead_to_deal_14d": [8000, 411],
        "lead_to_deal_30d": [8000, 546],
        "lead_to_deal_60d": [8000, 643],
        "lead_to_deal_90d": [8000, 690],
        "lead_to_deal_unlimited": [8000, 841],
    }


def test_olist_leads_are_mature_when_their_window_has_passed(
    connection: duckdb.DuckDBPyConnection, shared_data: Path
) -> None:
    prepare(connection, shared_data, OLIST)
    connection.execute("set variable as_of = date '2018-06-30'")
    connection.execute(f"create table entries as {render(entries_sql(declared('lead_to_deal')))}")
    latest = dict(
        connection.execute(
            "select funnel, max(entered_at) from entries where is_mature group by funnel"
        ).fetchall()
    )
    last_lead = dt.datetime(2018, 5, 31)  # the file ends there
    assert latest["lead_to_deal_unlimited"] == latest["lead_to_deal_30d"] == last_lead
    assert latest["lead_to_deal_60d"] == dt.datetime(2018, 5, 1)
    assert latest["lead_to_deal_90d"] == dt.datetime(2018, 4, 1)
