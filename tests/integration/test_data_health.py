"""Data health: what is unusual is found on its day, what is usual is left in peace, and nothing else decides.

The models are built once by dbt; their SQL is then asked about many made-up pasts.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import random
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from orchestration.assets.health import BLOCKING_CHECK, HEALTH_CHECK, HEALTH_KEY
from orchestration.assets.landing import raw_key
from orchestration.cli.checkup import check_up
from orchestration.cli.summary import show_summary
from orchestration.definitions import build_definitions
from orchestration.home import Home
from orchestration.ingestion.contracts import TABLES_BY_NAME
from orchestration.ingestion.registry import FileEntry, RawFile, Registry, raw_columns, storage_type
from orchestration.publishing.health import CHECKS, UNKNOWN_TAGS, in_short, read_health
from orchestration.settings import Settings
from orchestration.warehouse.project import input_hash, remember_build
from orchestration.warehouse.state_day import held_day, moving_to
from tests.command import jingxi
from tests.warehouse_home import WarehouseHome

AS_OF = dt.date(2026, 6, 30)  # a Tuesday
DAYS = 120
Row = tuple[str, str | None, dt.date, int, int | None, int | None]


def before(days: int) -> dt.date:
    return AS_OF - dt.timedelta(days=days)


# --- raw files, as intake leaves them ---


def arrive(
    home: Home,
    table: str,
    on: dt.date,
    rows: int,
    *,
    empty: Sequence[str] = (),
    rejected: int = 0,
    path: str = "",
) -> None:
    """A raw file of `rows` rows in which every column but the `empty` ones has a value."""
    relative = Path("raw") / table / on.isoformat() / f"{table}{on}{rows}{path}.parquet"
    (home.path / relative).parent.mkdir(parents=True, exist_ok=True)
    columns = []
    for column in raw_columns(TABLES_BY_NAME[table]):
        kind = storage_type(column)
        value = {
            "VARCHAR": "'x' || i",
            "BIGINT": "i",
            "DATE": f"date '{on}'",
            "TIMESTAMP": f"timestamp '{on} 04:00:00'",
        }.get(kind, "1")
        columns.append(f'cast({"null" if column.name in empty else value} as {kind}) as "{column.name}"')
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select {', '.join(columns)} from range({rows}) as t (i)) to '{home.path / relative}' (format parquet)"
        )
    registry = Registry(home)
    entry = FileEntry(
        table=table,
        path=path or f"{table}/{on}.csv",
        content_hash=relative.name,
        status="taken",
        reason=None,
        format="csv",
        records=rows + rejected,
        accepted=rows,
        rejected=rejected,
        arrived_on=on,
        taken_in_at=dt.datetime.combine(on, dt.time(20)),
        raw_files=(RawFile(str(relative), on, rows),),
    )
    registry.commit([entry], {})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> WarehouseHome:
    """Ten weeks of orders and refunds: the last day of orders has no channel, and refunds have many refused records."""
    warehouse = WarehouseHome(tmp_path_factory.mktemp("health"))
    for back in range(70, -1, -1):
        day = before(back)
        last = back == 0
        arrive(warehouse.home, "orders", day, 60, empty=["coupon_id", *(["channel"] if last else [])])
        arrive(warehouse.home, "refunds", day, 30, rejected=15 if last else 0)
    # The same path once more: the earlier version's rows no longer count.
    arrive(warehouse.home, "products", before(1), 500, path="products/all.csv")
    arrive(warehouse.home, "products", AS_OF, 20, path="products/all.csv")
    arrive(warehouse.home, "staff", AS_OF + dt.timedelta(days=1), 20)
    given = [("vip_care", 1), ("vip_cre", 2), ("VIP Care", 1), ("likes blue", 1)]
    rows = [
        {"id_type": "phone", "id": f"{tag}{n}", "tag": tag, "set_at": dt.datetime(2026, 6, 1, 4)}
        for tag, count in given
        for n in range(count)
    ]
    warehouse.arrive("manual_tags", rows, before(3).isoformat())
    warehouse.build(AS_OF.isoformat(), "+data_health")
    return warehouse


def test_rows_refused_and_empty_values_are_those_of_the_files(built: WarehouseHome) -> None:
    totals = built.rows(
        "select table_name, count(*), sum(rows_count), sum(rejected_count) from intermediate.int_health__days "
        "where column_name is null group by all order by all"
    )
    assert totals == [
        ("manual_tags", 1, 5, 0),
        ("orders", 71, 71 * 60, 0),
        ("products", 1, 20, 0),
        ("refunds", 71, 71 * 30, 15),
    ]
    nulls = built.rows(
        "select column_name, sum(null_count), sum(rows_count) from intermediate.int_health__days "
        "where table_name = 'orders' and column_name in ('channel', 'coupon_id', 'order_id') group by all order by all"
    )
    # The last eight weeks and two more; earlier files are not opened.
    assert nulls == [("channel", 60, 70 * 60), ("coupon_id", 70 * 60, 70 * 60), ("order_id", 0, 70 * 60)]


def test_what_is_unusual_is_told_in_words_and_numbers(built: WarehouseHome) -> None:
    rows = {
        (table, check): rest
        for table, check, *rest in built.rows(
            "select table_name, check_name, status, column_name, since_date, measured, expected_low, sentence "
            "from marts.data_health"
        )
    }
    status, _, since, measured, _, sentence = rows.pop(("manual_tags", UNKNOWN_TAGS))
    assert (status, since, measured) == ("warn", before(3), 4)
    assert sentence == (
        "manual_tags: 4 rows name 3 tags that no spec declares by_hand, so they do nothing: vip_cre (2, did you mean "
        "vip_care?), VIP Care (1, did you mean vip_care?), likes blue (1); correct the rows or declare the tags in "
        "dbt_project/specs/tags."
    )
    tables = ("manual_tags", "orders", "refunds", "products")
    assert set(rows) == {(table, check) for table in tables for check in CHECKS}
    status, column, since, measured, low, sentence = rows["orders", "null_share"]
    assert (status, column, since, measured, low) == ("fail", "channel", AS_OF, 1, 0)
    assert sentence.startswith("orders: channel is empty in 100.0 % of 60 rows of 2026-06-30; up to ")
    status, _, since, measured, _, sentence = rows["refunds", "rejects"]
    assert (status, since) == ("warn", AS_OF)
    assert abs(measured - 1 / 3) < 1e-9
    assert sentence.startswith("refunds: 33.3 % of 45 records of 2026-06-30 were refused")
    usual = {key: row[0] for key, row in rows.items() if key[0] not in ("products", "manual_tags")}
    unusual = {("orders", "null_share"), ("refunds", "rejects")}
    assert {key for key, status in usual.items() if status != "ok"} == unusual
    assert {rows["products", check][0] for check in CHECKS} == {"not_enough_history"}


# --- made-up pasts ---


@dataclass
class Judge:
    """The SQL of data_health over days and rules that a test makes up."""

    session: duckdb.DuckDBPyConnection
    sql: str

    def __call__(
        self, days: Sequence[Row], as_of: dt.date = AS_OF, rules: Sequence[tuple[Any, ...]] = ()
    ) -> dict[tuple[str, str], dict[str, Any]]:
        self.session.execute("delete from days; delete from rules")
        if days:
            lists = [list(column) for column in zip(*days, strict=True)]
            types = ("varchar", "varchar", "date", "bigint", "bigint", "bigint")
            columns = ", ".join(f"unnest(cast(? as {kind}[]))" for kind in types)
            self.session.execute(f"insert into days select {columns}", lists)
        for rule in rules:
            self.session.execute("insert into rules values (?, ?, ?, ?)", rule)
        return self.again(as_of)

    def again(self, as_of: dt.date) -> dict[tuple[str, str], dict[str, Any]]:
        """The same past on another day."""
        self.session.execute(f"set variable as_of = date '{as_of}'")
        cursor = self.session.execute(self.sql)
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return {(row["table_name"], row["check_name"]): row for row in rows}


@pytest.fixture(scope="module")
def judge(built: WarehouseHome) -> Iterator[Judge]:
    compiled = built.home.dbt_target / "compiled/jingxi/models/marts/health/data_health.sql"
    sql = compiled.read_text()
    for relation, name in (
        ('"warehouse"."intermediate"."int_health__days"', "days"),
        ('"warehouse"."seeds"."data_health_rules"', "rules"),
        ('"warehouse"."seeds"."catalog_tag_sources"', "sources"),
        ('"warehouse"."staging"."stg_raw__manual_tags"', "manual_tags"),
    ):
        assert relation in sql
        sql = sql.replace(relation, f"memory.main.{name}")
    with duckdb.connect() as session:
        session.execute(
            "create table days (table_name varchar, column_name varchar, arrived_on date, rows_count bigint, "
            "null_count bigint, rejected_count bigint)"
        )
        session.execute(
            "create table rules (table_name varchar, warn_after_days integer, fail_after_days integer, is_blocking boolean)"
        )
        session.execute("create table sources (tag varchar, kind varchar)")
        session.execute("create table manual_tags (tag varchar, _first_arrived_on date)")
        yield Judge(session, sql)


def total(table: str, day: dt.date, rows: int, rejected: int = 0) -> Row:
    return (table, None, day, rows, None, rejected)


def poisson(chance: random.Random, mean: float) -> int:
    """A Poisson count (multiplication of uniform numbers, Knuth 1969), as a sum of parts that are small enough."""
    count = 0
    while mean > 0:
        part, limit, product = min(mean, 30), math.exp(-min(mean, 30)), chance.random()
        while product > limit:
            count += 1
            product *= chance.random()
        mean -= part
    return count


def quiet_past(seed: int) -> list[Row]:
    """Tables as brands have them: daily ones with weekdays and days that differ by more than chance, a growing one, weekly,
    small and monthly ones; columns that are now and then empty; some refused records."""
    chance = random.Random(seed)
    days: list[Row] = []
    for back in range(DAYS - 1, -1, -1):
        day = before(back)
        weekend = 1.5 if day.weekday() >= 5 else 1.0
        grown = 1 + (DAYS - back) / DAYS
        plans = {
            "events": 400 * weekend * chance.gammavariate(40, 1 / 40),
            "orders": 30 * weekend,
            "order_lines": 60 * weekend * grown * chance.gammavariate(20, 1 / 20),
            "touches": 200 * chance.gammavariate(10, 1 / 10) if day.weekday() == 3 else 0,
            "contacts": 40 if day.weekday() == 1 else 0,
            "members": 4,
            "leads": 0.3,
            "channel_costs": 150 if day.day == 1 else 0,
        }
        for table, mean in plans.items():
            rows = poisson(chance, mean)
            rejected = sum(chance.random() < 0.003 for _ in range(rows))
            if rows + rejected:
                days.append(total(table, day, rows - rejected, rejected))
            for column, share in (("never", 0.0), ("seldom", 0.02), ("often", 0.4), ("always", 1.0)):
                if rows > rejected:
                    nulls = sum(chance.random() < share for _ in range(rows - rejected))
                    days.append((table, column, day, rows - rejected, nulls, None))
    return days


def test_a_quiet_ninety_days_raise_few_alarms(judge: Judge) -> None:
    """Declared: of the checks that are judged at most 1 % warn on quiet input, and none fails."""
    judged = warned = failed = 0
    for seed in (1, 2):
        judge(quiet_past(seed))
        for back in range(89, -1, -3):
            for row in judge.again(before(back)).values():
                judged += row["status"] != "not_enough_history"
                warned += row["status"] == "warn"
                failed += row["status"] == "fail"
    assert judged > 1000
    assert failed == 0
    assert warned <= judged * 0.01, f"{warned} of {judged}"


def changed(days: list[Row], where: Callable[[Row], bool], change: Callable[[Row], Row | None]) -> list[Row]:
    return [new for row in days if (new := change(row) if where(row) else row) is not None]


def test_a_day_with_a_tenth_of_the_rows_is_found(judge: Judge) -> None:
    for back in (0, 3, 20):
        day = before(back)
        past = changed(
            quiet_past(3),
            lambda row, day=day: row[:3] == ("events", None, day),  # type: ignore[misc]
            lambda row: total("events", row[2], row[3] // 10),
        )
        row = judge(past, day)["events", "volume"]
        assert (row["status"], row["since_date"]) == ("fail", day)
        assert row["measured"] < row["expected_low"] < row["expected_high"]
        assert judge.again(day - dt.timedelta(days=1))["events", "volume"]["status"] == "ok"
        if back:
            # The day after is judged by the weeks before it, and is usual again.
            assert judge.again(day + dt.timedelta(days=1))["events", "volume"]["status"] == "ok"


def test_a_day_that_came_three_times_is_found(judge: Judge) -> None:
    past = changed(
        quiet_past(3),
        lambda row: row[:3] == ("orders", None, AS_OF),
        lambda row: total("orders", AS_OF, row[3] * 4),
    )
    assert judge(past)["orders", "volume"]["status"] in ("warn", "fail")


def test_a_table_that_stops_is_found_and_since_when(judge: Judge) -> None:
    stopped = before(11)
    past = changed(
        quiet_past(4), lambda row: row[0] in ("events", "contacts") and row[2] >= stopped, lambda _: None
    )
    found = judge(past, rules=[("events", 2, 8, False)])
    events = found["events", "freshness"]
    assert (events["status"], events["since_date"], events["measured"]) == ("fail", before(9), 12)
    assert (found["events", "volume"]["status"], found["events", "volume"]["since_date"]) == ("fail", stopped)
    # A weekly table last came 14 days ago: one arrival was left out, twice its rhythm is not over yet.
    assert (found["contacts", "freshness"]["status"], found["contacts", "freshness"]["measured"]) == (
        "ok",
        14,
    )
    assert found["orders", "freshness"]["status"] == "ok"


@pytest.mark.parametrize(("age", "status"), [(2, "ok"), (3, "warn"), (8, "warn"), (9, "fail")])
def test_declared_days_count_from_the_last_arrival(judge: Judge, age: int, status: str) -> None:
    row = judge([total("orders", before(age), 5)], rules=[("orders", 2, 8, True)])["orders", "freshness"]
    assert (row["status"], row["measured"], row["is_blocking"]) == (status, age, True)
    assert row["since_date"] == (before(age - 3) if status != "ok" else None)


@pytest.mark.parametrize(("age", "status"), [(14, "ok"), (15, "warn"), (28, "warn"), (29, "fail")])
def test_without_a_declaration_the_rhythm_counts(judge: Judge, age: int, status: str) -> None:
    past = [total("surveys", before(age + 7 * week), 5) for week in range(5)]
    assert judge(past)["surveys", "freshness"]["status"] == status
    assert judge(past[:4])["surveys", "freshness"]["status"] == "not_enough_history"


def test_a_column_that_goes_empty_is_found(judge: Judge) -> None:
    day = before(2)
    past = changed(
        quiet_past(5),
        lambda row: row[0] == "events" and row[1] in ("seldom", "often") and row[2] >= day,
        lambda row: (*row[:4], row[3] if row[1] == "seldom" else row[4], None),
    )
    row = judge(past)["events", "null_share"]
    assert (row["status"], row["column_name"], row["since_date"], row["measured"]) == (
        "fail",
        "seldom",
        day,
        1,
    )
    assert judge.again(before(3))["events", "null_share"]["status"] == "ok"


def test_a_jump_of_refused_records_is_found(judge: Judge) -> None:
    past = changed(
        quiet_past(6),
        lambda row: row[:3] == ("events", None, AS_OF),
        lambda row: total("events", AS_OF, row[3], row[3] // 12),
    )
    row = judge(past)["events", "rejects"]
    assert (row["status"], row["since_date"]) == ("warn", AS_OF)
    assert 0.05 < row["measured"] < 0.1


def test_four_weeks_and_four_errors_are_history(judge: Judge) -> None:
    def status(days: int) -> str:
        return str(
            judge([total("orders", before(back), 50) for back in range(days)])["orders", "volume"]["status"]
        )

    # The first day with four earlier weekdays is day 29; the errors of four such days make a spread.
    assert (status(32), status(33)) == ("not_enough_history", "ok")


def test_tables_that_never_had_a_row_are_not_mentioned(judge: Judge) -> None:
    assert judge([]) == {}
    assert judge([total("orders", before(1), 0, 7)]) == {}


def test_the_future_and_the_order_of_arrival_do_not_matter(judge: Judge) -> None:
    past = quiet_past(7)
    day = before(10)
    known = judge([row for row in past if row[2] <= day], day)
    random.Random(1).shuffle(past)
    assert judge(past, day) == known


# --- the definition again, in plain Python ---


def reference_volume(
    rows: dict[dt.date, int], day: dt.date, weeks: int = 8
) -> tuple[str, float, float] | None:
    """Status and bounds of a day's volume."""
    first = min(rows)

    def root(count: float) -> float:
        return 2 * math.sqrt(count + 0.375)

    def count_of(value: float) -> float:
        return max(0.0, (max(value, 0) / 2) ** 2 - 0.375)

    def usual(of: dt.date) -> tuple[float, float] | None:
        days = [of - dt.timedelta(days=7 * week) for week in range(1, weeks + 1)]
        counts = [rows.get(known, 0) for known in days if known >= first]
        return (statistics.median(counts), statistics.median(map(root, counts))) if len(counts) >= 4 else None

    expected = usual(day)
    if expected is None:
        return None
    past = [day - dt.timedelta(days=back) for back in range(1, 7 * weeks + 1)]
    errors = []
    for one in past:
        known = usual(one) if one >= first else None
        if known is not None and (rows.get(one, 0) > 0 or known[0] > 0):
            errors.append(abs(root(rows.get(one, 0)) - known[1]))
    if len(errors) < 4:
        return None
    spread = max(1.0, 1.4826 * statistics.median(errors) * (1 + 3 / len(errors)))
    most = max(rows.get(one, 0) for one in past)
    count, (rows_usual, root_usual) = rows.get(day, 0), expected
    rest = most if rows_usual == 0 else 0
    low = min(count_of(root_usual - 4 * spread), 0.7 * rows_usual)
    high = max(count_of(root_usual + 4 * spread), 2 * rows_usual, rest)
    fails = count < min(count_of(root_usual - 6 * spread), 0.3 * rows_usual) or count > max(
        count_of(root_usual + 6 * spread), 5 * rows_usual, 2 * rest
    )
    return "fail" if fails else "warn" if not low <= count <= high else "ok", low, high


def reference_share(batches: dict[dt.date, tuple[int, int]], weeks: int = 8) -> tuple[str, float] | None:
    """Status and greatest usual share of the latest batch (rows, empty) of one column."""
    enough = {day: batch for day, batch in batches.items() if batch[0] >= 20}
    day = max(batches)
    if day not in enough:
        return None
    earlier = [enough[one] for one in enough if day - dt.timedelta(days=7 * weeks) <= one < day]
    if len(earlier) < 4:
        return None

    def angle(part: float, whole: float) -> float:
        return math.asin(math.sqrt((part + 0.375) / (whole + 0.75)))

    share = statistics.median(part / whole for whole, part in earlier)
    every = sum(whole for whole, _ in earlier)
    usual = angle(share * every, every)
    errors = [abs(angle(part, whole) - usual) * 2 * math.sqrt(whole + 0.5) for whole, part in earlier]
    spread = max(1.0, 1.4826 * statistics.median(errors) * (1 + 3 / len(errors)))
    whole, part = enough[day]

    def bound(deviations: float, least: float) -> float:
        reach = usual + deviations * spread / (2 * math.sqrt(whole + 0.5))
        return max(math.sin(min(reach, math.pi / 2)) ** 2, share + least)

    measured, high = part / whole, bound(4, 0.1)
    if measured > bound(6, 0.5) or (measured == 1 and measured > high):
        return "fail", high
    return "warn" if measured > high else "ok", high


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.just(0), st.integers(0, 5), st.integers(50, 80), st.integers(0, 2000)),
        min_size=20,
        max_size=DAYS,
    )
)
def test_volume_is_judged_as_defined(judge: Judge, counts: list[int]) -> None:
    rows = {before(back): count for back, count in enumerate(counts) if count}
    if not rows:
        return
    found = judge([total("orders", day, count) for day, count in rows.items()])["orders", "volume"]
    expected = reference_volume(rows, AS_OF)
    if expected is None:
        assert found["status"] == "not_enough_history"
        return
    assert found["expected_low"] == pytest.approx(expected[1], abs=1e-6)
    assert found["expected_high"] == pytest.approx(expected[2], abs=1e-6)
    assert found["status"] == expected[0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 80), st.integers(1, 200), st.floats(0, 1)),
        min_size=1,
        max_size=40,
        unique_by=lambda batch: batch[0],
    )
)
def test_empty_values_are_judged_as_defined(judge: Judge, drawn: list[tuple[int, int, float]]) -> None:
    batches = {before(back): (rows, round(rows * share)) for back, rows, share in drawn}
    past: list[Row] = [total("orders", day, rows) for day, (rows, _) in batches.items()]
    # Only the last ten weeks are kept of a column; eight weeks before the latest batch are looked at.
    past += [("orders", "channel", day, rows, empty, None) for day, (rows, empty) in batches.items()]
    found = judge(past)["orders", "null_share"]
    expected = reference_share(batches)
    if expected is None:
        assert found["status"] == "not_enough_history"
        return
    assert found["expected_high"] == pytest.approx(expected[1], abs=1e-6)
    assert found["status"] == expected[0]


# --- where people see it ---


def test_a_run_records_the_checks_of_every_table(
    small_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A copy: Dagster's storage makes and removes files when it is opened and closed, also by those who only read.
    dagster_home = tmp_path / "home" / "dagster"
    shutil.copytree(small_home, dagster_home.parent, symlinks=True)
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home))
    day, findings = read_health(small_home / "published" / "marts.duckdb", "main")
    assert day == AS_OF
    tables = {finding.table for finding in findings}
    keys = [dg.AssetCheckKey(raw_key(table), HEALTH_CHECK) for table in tables]
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [*keys, dg.AssetCheckKey(HEALTH_KEY, BLOCKING_CHECK)]
        )
    assert len(records) == len(tables) + 1
    for key, record in records.items():
        assert record.event is not None
        assert record.event.dagster_event is not None
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        if key.asset_key == HEALTH_KEY:
            assert evaluation.passed
            continue
        own = [finding for finding in findings if finding.table == key.asset_key.path[-1]]
        assert evaluation.severity == dg.AssetCheckSeverity.WARN
        assert evaluation.passed == (not any(finding.is_unusual for finding in own))
        told = evaluation.metadata["checks"].value
        assert told == [
            {"check": finding.check, "status": finding.status, "sentence": finding.said()} for finding in own
        ]
        measured = {f.check: f.measured for f in own if f.measured is not None}
        assert {check: evaluation.metadata[check].value for check in measured} == measured


def test_the_summary_the_doctor_and_sql_say_it(small_home: Path) -> None:
    findings = read_health(small_home / "published" / "marts.duckdb", "main")[1]
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.status] = counts.get(finding.status, 0) + 1
    out = io.StringIO()
    run = json.loads((small_home / "first_run.json").read_text())
    show_summary(run, Home(small_home), Console(file=out, width=160))
    assert f"Data health: {in_short(counts)}." in out.getvalue()
    (found,) = [one for one in check_up(Home(small_home), Settings()) if one.what == "data health"]
    assert in_short(counts) in found.found
    rows = jingxi("sql", "from data_health", "--home", small_home, "--json").json
    # Four of each table, and the names of tags that staff set.
    assert len(rows) == len(findings) == 4 * len({finding.table for finding in findings}) + 1


def test_a_failure_that_blocks_keeps_the_day_from_being_published(small_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "home"
    shutil.copytree(small_home, path, symlinks=True)
    home = Home(path)
    manifest = home.publication_manifest.read_text()
    with duckdb.connect(str(home.warehouse)) as warehouse:
        warehouse.execute(
            "update marts.data_health set is_blocking = true, status = 'fail', since_date = as_of_date, "
            "sentence = 'events: 3 rows arrived' where table_name = 'events' and check_name = 'volume'"
        )
    definitions = build_definitions(home, overrides=["lifecycle.new_days=31"])
    loaded = Settings.model_validate({"lifecycle": {"new_days": 31}})
    remember_build(home, AS_OF, input_hash(home, loaded, AS_OF))
    with moving_to(home, loaded, AS_OF):
        pass
    chosen = dg.AssetSelection.assets("published").without_checks() | dg.AssetSelection.checks(
        dg.AssetCheckKey(HEALTH_KEY, BLOCKING_CHECK), dg.AssetCheckKey(raw_key("events"), HEALTH_CHECK)
    )
    job = dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        resources=definitions.resources,
        jobs=[dg.define_asset_job("publish_only", chosen, executor_def=dg.in_process_executor)],
    ).resolve_job_def("publish_only")
    result = job.execute_in_process(partition_key=AS_OF.isoformat(), raise_on_error=False)
    assert not result.success
    checks = {
        (
            event.asset_check_evaluation_data.asset_key.path[-1],
            event.asset_check_evaluation_data.check_name,
        ): event
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
    }
    evaluation = checks["events", HEALTH_CHECK].asset_check_evaluation_data
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert not checks["data_health", BLOCKING_CHECK].asset_check_evaluation_data.passed
    errors = " ".join(str(event.event_specific_data) for event in result.all_events if event.is_step_failure)
    assert "events: 3 rows arrived, since 2026-06-30." in errors
    assert home.publication_manifest.read_text() == manifest
    # What keeps a day from readers does not cost the state: the next build goes on from it.
    assert held_day(home, loaded) == AS_OF
