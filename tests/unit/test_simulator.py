"""The simulator: same bytes, whole tables, sums that hold, planted truth that can be found again."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.errors import UsageError
from orchestration.ingestion.contracts import TABLES, TABLES_BY_NAME, Column
from orchestration.ingestion.simulator import DEFAULT_END, SimulationResult, run, simulate

USERS, DAYS = 900, 60
DELIMITERS = {"landing_codes": ";", "group_memberships": "\t"}


@pytest.fixture(scope="module")
def brand(tmp_path_factory: pytest.TempPathFactory) -> SimulationResult:
    return simulate(tmp_path_factory.mktemp("simulated") / "landing", users=USERS, days=DAYS)


@pytest.fixture(scope="module")
def landing(
    brand: SimulationResult, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Every table as text in its latest version per key, without broken lines; truth in schema truth."""
    connection = duckdb.connect()
    aside = tmp_path_factory.mktemp("plain")
    for table in TABLES:
        read = _reader(brand.landing / table.name, table.name, aside)
        connection.execute(
            f"""create table every_{table.name} as select * exclude (dt, filename), cast(dt as date) as _day,
            row_number() over () as _row from {read} where filename not like '%\\_again%' escape '\\'"""
        )
        sound = " and ".join(
            f"try_cast({column.name} as {column.type}) is not null"
            if column.required
            else f"(nullif({column.name}, '') is null or try_cast({column.name} as {column.type}) is not null)"
            for column in table.columns
            if column.name in _columns(connection, f"every_{table.name}")
        )
        keys = ", ".join(f"coalesce({name}, '')" for name in table.key)
        if table.name == "events":
            keys = "coalesce(event_id, cast(_row as varchar))"
        connection.execute(
            f"""create table {table.name} as select * from every_{table.name} where {sound}
            qualify row_number() over (partition by {keys} order by _day desc, _row desc) = 1"""
        )
    connection.execute("create schema truth")
    for file in brand.truth.glob("*.parquet"):
        connection.execute(f"create table truth.{file.stem} as from '{file}'")
    yield connection
    connection.close()


def _reader(folder: Path, table: str, aside: Path) -> str:
    options = "hive_partitioning=true, hive_types_autocast=false, filename=true"
    file = next(file for file in folder.rglob("*") if file.is_file())
    if file.suffix == ".parquet":
        columns = ", ".join(
            f"cast({column.name} as varchar) as {column.name}" for column in _given(table, file)
        )
        return f"(select {columns}, dt, filename from read_parquet('{folder}/*/*', {options}))"
    if ".jsonl" in file.name:
        columns = ", ".join(f"'{column.name}': 'varchar'" for column in TABLES_BY_NAME[table].columns)
        return (
            f"read_json('{folder}/*/*', format='newline_delimited', ignore_errors=true, "
            f"columns={{{columns}}}, {options})"
        )
    if table == "products":  # GB18030
        plain = aside / table / file.parent.name / file.name
        plain.parent.mkdir(parents=True)
        plain.write_text(file.read_text(encoding="gb18030"), encoding="utf-8")
        folder = aside / table
    delimiter = DELIMITERS.get(table, ",")
    return (
        f"read_csv('{folder}/*/*', delim='{delimiter}', header=true, all_varchar=true, ignore_errors=true, "
        f"null_padding=false, auto_detect=true, {options})"
    )


def _given(table: str, file: Path) -> list[Column]:
    names = [row[0] for row in duckdb.sql(f"describe from '{file}'").fetchall()]
    return [column for column in TABLES_BY_NAME[table].columns if column.name in names]


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    return {row[0] for row in connection.execute(f"describe {table}").fetchall()}


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0] or 0)


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(folder)).encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


_ALONE = """
import os, sys
from pathlib import Path
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pyarrow", "pandas"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from orchestration.ingestion.simulator import simulate
simulate(Path(sys.argv[1]), users=150, days=10, seed=3)
"""


def test_same_arguments_give_the_same_bytes_on_one_core_without_pyarrow(tmp_path: Path) -> None:
    simulate(tmp_path / "here", users=150, days=10, seed=3)
    subprocess.run(
        [sys.executable, "-c", _ALONE, str(tmp_path / "alone")],
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TZ": "America/New_York"},
    )
    simulate(tmp_path / "other", users=150, days=10, seed=4)
    assert _fingerprint(tmp_path / "here") == _fingerprint(tmp_path / "alone")
    assert _fingerprint(tmp_path / "here") != _fingerprint(tmp_path / "other")


@pytest.mark.parametrize(("users", "days"), [(20, 1), (20, 8)])
def test_a_tiny_brand_has_events(tmp_path: Path, users: int, days: int) -> None:
    told: list[str] = []
    result = simulate(tmp_path / "tiny", users=users, days=days, on_progress=told.append)
    assert result.rows["events"] > 0
    assert told[-1] == f"simulated day {days} of {days}"
    assert result.to_dict()["end"] == DEFAULT_END.isoformat()


def test_many_events_come_as_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MOST_JSON_EVENTS", 100)
    result = simulate(tmp_path / "many", users=20, days=2, events_per_user=10)
    files = list((result.landing / "events").rglob("events.parquet"))
    assert len(files) == 2
    described = {row[0]: row[1] for row in duckdb.sql(f"describe from '{files[0]}'").fetchall()}
    assert described["occurred_at"] == "TIMESTAMP"
    assert described["properties"] == "VARCHAR"


def test_every_table_is_there_with_known_columns(
    brand: SimulationResult, landing: duckdb.DuckDBPyConnection
) -> None:
    for table in TABLES:
        names = {column.name for column in table.columns}
        given = _columns(landing, table.name) - {"_day", "_row"}
        assert given <= names, table.name
        assert set(table.required_columns) <= given, table.name
        assert _one(landing, f"select count(*) from {table.name}") > 0, table.name
        # Whatever is not the latest version or broken is there on purpose.
        assert _one(landing, f"select count(*) from {table.name}") <= brand.rows[table.name], table.name


def test_files_arrive_inside_the_window(brand: SimulationResult) -> None:
    days = {dt.date.fromisoformat(folder.name.removeprefix("dt=")) for folder in brand.landing.glob("*/dt=*")}
    assert max(days) == DEFAULT_END
    assert min(days) == DEFAULT_END - dt.timedelta(days=DAYS - 1)


def test_nothing_is_known_before_it_happens(landing: duckdb.DuckDBPyConnection) -> None:
    for table in TABLES:
        if table.dated_by is None or table.name in ("targets", "campaigns", "contents", "channel_costs"):
            continue
        for column in table.columns:
            if column.type == "TIMESTAMP" and column.name != "expires_at":
                if column.name not in _columns(landing, table.name):
                    continue
                early = f"cast(left(cast({column.name} as varchar), 10) as date) > _day"
                assert _one(landing, f"select count(*) from {table.name} where {early}") == 0, column.name


def test_lines_add_up_to_their_order(landing: duckdb.DuckDBPyConnection) -> None:
    wrong = """with lines as (
            select order_id, sum(cast(amount as decimal(18, 4))) as amount,
                sum(cast(discount_amount as decimal(18, 4))) as discount_amount
            from order_lines group by order_id
        )
        select count(*) from orders left join lines using (order_id)
        where lines.amount is distinct from cast(orders.amount as decimal(18, 4))
            or lines.discount_amount is distinct from cast(orders.discount_amount as decimal(18, 4))
            or cast(orders.amount as decimal(18, 4)) < 0"""
    assert _one(landing, "select count(*) from orders") > 300
    assert _one(landing, wrong) == 0


def test_refunds_fit_their_orders(landing: duckdb.DuckDBPyConnection) -> None:
    refunded = """select count(*) from orders
        left join (select order_id, sum(cast(amount as double)) as refund from refunds group by order_id)
            using (order_id)
        where (status = 'refunded') <> coalesce(refund >= cast(amount as double), false)"""
    assert _one(landing, refunded) == 0
    assert _one(landing, "select count(*) from refunds where order_id is not null") > 0
    assert _one(landing, "select count(*) from refunds where order_id is null and id is null") == 0
    beyond = """select count(*) from refunds inner join orders using (order_id)
        where cast(refunds.amount as double) > cast(orders.amount as double)"""
    assert _one(landing, beyond) == 0
    assert _one(landing, "select count(*) from every_orders") > _one(landing, "select count(*) from orders")


def test_what_refers_to_something_finds_it(landing: duckdb.DuckDBPyConnection) -> None:
    for table, column, target in (
        ("order_lines", "product_id", "products"),
        ("order_lines", "order_id", "orders"),
        ("events", "product_id", "products"),
        ("events", "content_id", "contents"),
        ("events", "campaign_id", "campaigns"),
        ("touches", "content_id", "contents"),
        ("touches", "campaign_id", "campaigns"),
        ("touches", "staff_id", "staff"),
        ("contacts", "staff_id", "staff"),
        ("contacts", "state_code", "landing_codes"),
        ("coupons", "order_id", "orders"),
        ("orders", "coupon_id", "coupons"),
        ("group_memberships", "group_id", "groups"),
        ("refunds", "order_id", "orders"),
    ):
        lost = f"select count(*) from {table} where {column} <> '' and {column} not in (select {column} from {target})"
        # A coupon of an order is told of with the month's coupons, so it may be unknown only inside a month.
        assert _one(landing, lost) == 0, (table, column)
        assert _one(landing, f"select count({column}) from {table}") > 0, (table, column)


def test_late_and_repeated_events_are_as_many_as_planted(
    brand: SimulationResult, landing: duckdb.DuckDBPyConnection
) -> None:
    named = "select event_id, min(_day) as _day, min(occurred_at) as occurred_at from every_events where event_id in (select event_id from events) and occurred_at < '2026-12' group by 1"
    late = f"select count(*) from ({named}) where _day > cast(left(occurred_at, 10) as date)"
    assert _one(landing, late) == brand.planted["late_events"] > 0
    again = "select count(*) - count(distinct event_id) from every_events where event_id is not null and event_name is not null and try_cast(occurred_at as timestamptz) is not null"
    assert _one(landing, again) == brand.planted["repeated_events"] > 0
    assert 0.003 < brand.planted["late_events"] / brand.rows["events"] < 0.007


def test_repeated_files_have_the_same_content(
    brand: SimulationResult, landing: duckdb.DuckDBPyConnection
) -> None:
    pairs = landing.execute("select file, copy from truth.repeated_files").fetchall()
    assert len(pairs) == brand.planted["repeated_files"] >= 3
    for file, copy in pairs:
        assert (brand.landing / file).read_bytes() == (brand.landing / copy).read_bytes()


def test_the_referral_tree_has_no_cycle_and_is_deep(landing: duckdb.DuckDBPyConnection) -> None:
    inviter = dict(landing.execute("select invitee, inviter from truth.referral_tree").fetchall())
    depths = []
    for person in inviter:
        depth, above = 0, person
        while above in inviter:
            above, depth = inviter[above], depth + 1
            assert depth <= len(inviter)
        depths.append(depth)
    assert max(depths) >= 3
    assert len(set(inviter)) == len(inviter)
    assert _one(landing, "select count(*) from referrals") == len(inviter)


def test_the_referrals_are_those_of_the_tree(landing: duckdb.DuckDBPyConnection) -> None:
    landed = """select count(*) from referrals
        inner join truth.persons as by_whom on inviter_id_type = by_whom.id_type and inviter_id = by_whom.id
        inner join truth.persons as whom on invitee_id_type = whom.id_type and invitee_id = whom.id
        inner join truth.referral_tree as tree
            on by_whom.person = tree.inviter and whom.person = tree.invitee"""
    assert _one(landing, landed) == _one(landing, "select count(*) from truth.referral_tree") > 0
    assert _one(landing, "select count(*) from referrals where invited_at > joined_at") == 0


def test_the_experiment_is_found_again_in_the_orders(landing: duckdb.DuckDBPyConnection) -> None:
    found = landing.execute(
        """with buyers as (
            select person, cast(ordered_at as timestamp) as ordered_at
            from orders inner join truth.persons using (id_type, id) where paid_at <> ''
        )
        select arm, count(distinct person) as users, count(distinct buyers.person) as converted
        from experiment_assignments
        inner join truth.persons using (id_type, id)
        left join buyers using (person)
        where experiment = 'welcome_offer' and (
            buyers.person is null
            or ordered_at between cast(assigned_at as timestamp) and cast(assigned_at as timestamp) + interval 14 day
        ) group by arm"""
    ).fetchall()
    converted = {arm: number for arm, _, number in found}
    truth = landing.execute(
        "select arm, users, true_rate, converted_users from truth.experiment_effect where experiment = 'welcome_offer'"
    ).fetchall()
    assert {arm: number for arm, _, _, number in truth} == converted
    for _, users, rate, number in truth:
        assert abs(number / users - rate) < 4 * (rate * (1 - rate) / users) ** 0.5
    assert len({rate for _, _, rate, _ in truth}) == 2


def test_who_churned_does_nothing_any_more(landing: duckdb.DuckDBPyConnection) -> None:
    after = """select count(*) from {table} inner join truth.persons using (id_type, id)
        inner join truth.churn using (person)
        where not is_shared and cast(left({moment}, 10) as date) > churned_on"""
    assert _one(landing, after.format(table="events", moment="occurred_at")) == 0
    assert _one(landing, after.format(table="orders", moment="ordered_at")) == 0
    answers = (
        after.format(table="touches", moment="occurred_at")
        + " and status in ('opened', 'clicked', 'replied')"
    )
    assert _one(landing, answers) == 0
    assert _one(landing, "select count(*) from truth.churn") > 0.1 * USERS


def test_a_switch_of_style_shows_in_what_is_viewed(landing: duckdb.DuckDBPyConnection) -> None:
    views = """select count(*) filter (style = to_style) / count(*) * 100 from events
        inner join truth.persons using (id_type, id) inner join truth.style_switch using (person)
        inner join products using (product_id)
        where event_name in ('product_view', 'view_item')
            and (cast(left(occurred_at, 10) as date) >= switched_on) = {after}"""
    assert _one(landing, views.format(after="false")) < 25
    assert _one(landing, views.format(after="true")) > 55


def test_every_identifier_of_the_truth_is_made_up_and_one_persons(
    landing: duckdb.DuckDBPyConnection,
) -> None:
    phones = "select count(*) from truth.persons where id_type = 'phone' and not regexp_full_match(id, '199[0-9]{8}')"
    assert _one(landing, phones) == 0
    mails = "select count(*) from truth.persons where id_type = 'email' and id not like '%@example.com'"
    assert _one(landing, mails) == 0
    owners = "select count(*) from (select id from truth.persons where not is_shared group by id_type, id having count(*) > 1)"
    assert _one(landing, owners) == 0
    families = (
        "select count(*) from (select id from truth.persons where is_shared group by id having count(*) <> 2)"
    )
    assert _one(landing, families) == 0
    assert _one(landing, "select count(*) from truth.persons where is_shared") > 0
    assert _one(landing, "select count(*) from truth.persons where is_mistyped") > 0
    unknown = """select count(*) from events anti join truth.persons using (id_type, id)
        where id <> 'anonymous'"""
    assert _one(landing, unknown) == 0


@pytest.mark.parametrize(
    ("who", "query"),
    [
        ("contacts of the week", "from contacts where cast(added_at as date) > date '2026-06-23'"),
        (
            "birthdays of the next fortnight",
            """from members, range(1, 15) as days(ahead)
            where strftime(cast(birth_date as date), '%m-%d') = strftime(date '2026-06-30' + cast(ahead as int), '%m-%d')""",
        ),
        (
            "carts of the week without an order after them",
            """from (select person, max(cast(occurred_at as timestamp)) as at from events
                inner join truth.persons using (id_type, id)
                where event_name in ('add_to_cart', 'addtocart') and occurred_at > '2026-06-24' group by person)
            where person not in (select person from orders inner join truth.persons using (id_type, id)
                where ordered_at > '2026-06-24')""",
        ),
        (
            "one order, and that lately",
            """from (select person from orders inner join truth.persons using (id_type, id) where paid_at <> ''
                group by person having count(*) = 1 and max(ordered_at) > '2026-06-01')""",
        ),
        (
            "good customers who stay away",
            """from (select person from orders inner join truth.persons using (id_type, id) where paid_at <> ''
                group by person having count(*) >= 4 and max(ordered_at) < '2026-05-01')""",
        ),
        ("withdrawn consents", "from consents where status = 'withdrawn'"),
        ("consents to advertising", "from consents where channel = 'ads' and status = 'granted'"),
        ("coupons that can be used", "from coupons where used_at is null and expires_at > '2026-07-01'"),
        ("live rooms reserved", "from events where event_name = 'live_reserve'"),
        ("leads won", "from leads where won_at <> ''"),
        ("contacts deleted", "from contacts where deleted_at <> ''"),
    ],
)
def test_the_last_day_has_people_for_every_need(
    landing: duckdb.DuckDBPyConnection, who: str, query: str
) -> None:
    assert _one(landing, f"select count(*) {query}") > 0, who


def test_about_half_of_the_buyers_buy_once(landing: duckdb.DuckDBPyConnection) -> None:
    once = """select 100 * count(*) filter (n = 1) / count(*) from (
        select count(*) as n from orders inner join truth.persons using (id_type, id)
        where paid_at <> '' and not is_shared group by person)"""
    assert 40 <= _one(landing, once) <= 65


def test_activity_has_a_heavy_tail(landing: duckdb.DuckDBPyConnection) -> None:
    top = """with people as (select person, count(*) as n from events
            inner join truth.persons using (id_type, id) group by person)
        select 100 * sum(n) filter (place <= 0.1) / sum(n)
        from (select n, percent_rank() over (order by n desc) as place from people)"""
    assert 30 <= _one(landing, top) <= 75


@pytest.mark.parametrize(
    ("users", "days", "seed", "told"),
    [(3, 5, 7, "--users 3"), (50, 0, 7, "--days 0"), (50, 5, -1, "--seed -1")],
)
def test_numbers_out_of_range_are_refused(
    tmp_path: Path, users: int, days: int, seed: int, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        simulate(tmp_path / "out", users=users, days=days, seed=seed)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        simulate(tmp_path, users=50, days=5)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
