"""Identity against the planted truth of the simulator, and its ids over a month of daily runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.home import Home
from orchestration.ingestion.contracts import TABLES_BY_NAME
from orchestration.ingestion.intake import take_in
from orchestration.ingestion.registry import Registry, empty_file
from orchestration.ingestion.simulator import DEFAULT_END, SimulationResult, simulate
from orchestration.settings import load_settings
from tests.laws.identity_support import TABLES, Warehouse

USERS, DAYS = 1200, 45


class SimulatedBrand:
    """A simulated brand, taken in, and its identity as of any day."""

    def __init__(self, folder: Path) -> None:
        self.truth: SimulationResult = simulate(folder / "landing", users=USERS, days=DAYS)
        home = Home(folder / "home")
        home.create()
        settings, _ = load_settings(home)
        now = dt.datetime.combine(DEFAULT_END, dt.time(15), tzinfo=dt.UTC)
        take_in(home, settings, self.truth.landing, now=now, business_day=DEFAULT_END)
        self.warehouse = Warehouse()
        run = self.warehouse.connection.execute
        arrived = Registry(home).arrived_files(DEFAULT_END)
        assert not Registry(home).replaced_files(DEFAULT_END)
        for table in TABLES:
            files = [str(empty_file(home, TABLES_BY_NAME[table])), *map(str, arrived.get(table, []))]
            run(f"create table taken_in_{table} as from read_parquet({files!r}, union_by_name=true)")
            for prefix in ("raw", "arrived"):
                run(
                    f"create view {prefix}_{table} as from taken_in_{table} "
                    "where _arrived_on <= cast(getvariable('as_of') as date)"
                )
        run(f"create table persons as from '{self.truth.truth / 'persons.parquet'}'")

    def users(self, as_of: dt.date) -> dict[int, str]:
        """User of every identifier by number."""
        self.warehouse.build(as_of)
        return dict(
            self.warehouse.connection.execute(
                "select distinct identifier_key, user_id from int_identity__lookup"
            ).fetchall()
        )


@pytest.fixture(scope="module")
def brand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedBrand]:
    brand = SimulatedBrand(tmp_path_factory.mktemp("truth"))
    yield brand
    brand.warehouse.connection.close()


# Pairs of identifiers of one person and of one user. A family's phone is each of its persons'.
_PAIRS = """
with
    found as (
        select distinct persons.person, persons.id_type, persons.id, identifiers.user_id
        from persons
        inner join int_identity__identifiers as identifiers using (id_type, id)
    ),
    same_person as (
        select distinct a.id_type as id_type_a, a.id as id_a, b.id_type as id_type_b, b.id as id_b
        from found as a inner join found as b using (person) where (a.id_type, a.id) < (b.id_type, b.id)
    ),
    owned as (select distinct id_type, id, user_id from found),
    same_user as (
        select a.id_type as id_type_a, a.id as id_a, b.id_type as id_type_b, b.id as id_b
        from owned as a inner join owned as b using (user_id) where (a.id_type, a.id) < (b.id_type, b.id)
    ),
    agreed as (select * from same_person intersect select * from same_user)
select (select count(*) from agreed), (select count(*) from same_person), (select count(*) from same_user)
"""


def test_identity_finds_the_planted_persons(brand: SimulatedBrand) -> None:
    brand.users(DEFAULT_END)
    ((both, same_person, same_user),) = brand.warehouse.rows(_PAIRS)
    assert same_person > 5 * USERS
    assert both / same_user >= 0.99, f"precision {both / same_user:.4f}"
    assert both / same_person >= 0.98, f"recall {both / same_person:.4f}"
    # What was planted is there to be seen through.
    shared = brand.warehouse.rows("select count(distinct id) from persons where is_shared")[0][0]
    mistyped = brand.warehouse.rows("select count(*) from persons where is_mistyped")[0][0]
    assert shared >= 0.01 * USERS / 2
    assert mistyped > 0
    assert brand.truth.planted["test_devices"] > 0
    largest = brand.warehouse.rows("select max(identifier_count) from int_identity__users")[0][0]
    assert largest <= 12


@pytest.mark.parametrize("runs", [5, pytest.param(30, marks=pytest.mark.long)])
def test_ids_stay_over_daily_runs_but_for_recorded_merges_and_splits(
    brand: SimulatedBrand, runs: int
) -> None:
    """Every run is built anew, so the last one is a full rebuild too."""
    first = DEFAULT_END - dt.timedelta(days=runs - 1)
    before: dict[int, str] = {}
    seen: set[tuple[str, str, dt.date]] = set()
    for number in range(runs):
        day = first + dt.timedelta(days=number)
        users = brand.users(day)
        # Numbers stay, so identifiers can be compared by number.
        seen |= {(user, users[key], day) for key, user in before.items() if users.get(key, user) != user}
        before = users
    names = brand.warehouse.rows(
        "select old.user_id, new.user_id, renames.changed_on from int_identity__renames as renames "
        "inner join (select identifier_key, min(id_type || ':' || id) as name from int_identity__written group by 1) "
        "as a on a.identifier_key = renames.old_key "
        "inner join (select identifier_key, min(id_type || ':' || id) as name from int_identity__written group by 1) "
        "as b on b.identifier_key = renames.new_key "
        "cross join lateral (select 'u' || substring(sha256(getvariable('hmac_outer') || "
        "unhex(sha256(getvariable('hmac_inner') || encode(a.name)))), 1, 20) as user_id) as old "
        "cross join lateral (select 'u' || substring(sha256(getvariable('hmac_outer') || "
        "unhex(sha256(getvariable('hmac_inner') || encode(b.name)))), 1, 20) as user_id) as new"
    )
    recorded = {(old, new, day) for old, new, day in names if day > first}
    assert seen
    assert seen == recorded
