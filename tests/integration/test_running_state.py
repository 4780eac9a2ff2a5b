"""Going forward day by day, over late rows, corrections, merges and splits, gives what a rebuild gives, row by row."""

from __future__ import annotations

import csv
import datetime as dt
import random
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import duckdb
import pytest

from orchestration.home import SEEDS_DIR, Home
from orchestration.jobs import state_check_job
from orchestration.resources.workspace import Workspace
from orchestration.settings import load_settings
from orchestration.warehouse.state_day import held_day
from tests.warehouse_home import WarehouseHome

SHANGHAI = ZoneInfo("Asia/Shanghai")
FIRST = dt.date(2026, 1, 1)
# Steps of one and of several days; the windows of 7, 30 and 90 days all move.
BUILDS = [90, 91, 92, 95, 96, 97, 104, 105, 121, 122]
SIXTY_DAYS = list(range(63, 123))
PEOPLE = 90
# What is taken from day to day; the wide table that reads it, only where it is compared.
STATE = (
    "+int_users__behaviour",
    "+int_users__response",
    "+int_users__acquisition",
    "+int_activity",
    "+int_interests__sums",
)
WIDE = ("+user_wide", "+int_interests__sums", "int_activity", "+int_tags__judged")
ACTIVITIES = ("view", "cart", "search", "share", "exposure", "Spin_Wheel")
COMPARED = {
    "marts.user_wide": "*",
    "intermediate.int_activity": "*",
    "intermediate.int_users__activity": "* exclude (computed_on, active_days_bits)",
    "intermediate.int_users__behaviour": "*",
    "intermediate.int_users__response": "*",
    "intermediate.int_interests__sums": "*",
    "intermediate.int_activity__event_keys": "*",
    "staging.stg_raw__touches": "*",
}


def day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


class Brand:
    """Random facts; each knows its day of arrival. Every person is a case of its own."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.arrivals: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
        for person in range(PEOPLE):
            self._person(person)
        self.random = random.Random(seed + 1000)
        for person in range(0, PEOPLE, 2):
            self._dealings(person)
        # A code changes its channel, another is described after contacts came through it.
        for arrives, code, channel in ((0, "qr1", "store"), (96, "qr1", "fair"), (104, "qr2", "street")):
            self._arrive("landing_codes", arrives, {"state_code": code, "channel": channel})
        # The second thing changes style, the third is described long after it was first looked at.
        for arrives, product, style in ((0, "P1", "a"), (0, "P2", "b"), (96, "P2", "a"), (104, "P3", "b")):
            self._arrive("products", arrives, {"product_id": product, "name": product, "style": style})

    def _moment(self, number: int) -> dt.datetime:
        local = dt.datetime.combine(day(number), dt.time(), SHANGHAI)
        local += dt.timedelta(seconds=self.random.choice([0, 1, 3599, 7200, 50_000, 86_399]))
        return local.astimezone(dt.UTC).replace(tzinfo=None)

    def _arrive(self, table: str, on: int, row: dict[str, Any]) -> None:
        self.arrivals[on, table].append(row)

    def _event(self, person: int, number: int, happened: int, **more: Any) -> dict[str, Any]:
        pick = self.random.choice
        return {
            "id_type": "openid",
            "id": f"o{person}-{pick([0, 0, 1])}",
            "event_name": pick(ACTIVITIES),
            "occurred_at": self._moment(happened),
            "event_id": f"e{person}-{number}",
            "channel": pick([None, "app", "web"]),
            "touchpoint": pick([None, "home", "list", "detail"]),
            "session_id": pick([None, f"s{number // 3}"]),
            "product_id": pick([None, "P1", "P2", "P3"]),
            **more,
        }

    def _person(self, person: int) -> None:
        draw = self.random
        for number in range(draw.choice([0, 1, 3, 12])):
            happened = draw.randrange(0, 125)
            late = draw.choice([0, 0, 0, 0, 1, 3, 30])
            # A few are announced before they happen.
            arrives = max(0, happened + (late if draw.random() < 0.9 else -5))
            self._arrive("events", arrives, self._event(person, number, happened))
            while draw.random() < 0.2:
                arrives += draw.choice([0, 1, 2, 10])
                other = max(0, happened + draw.choice([0, 0, -1, 4, 40]))
                self._arrive("events", arrives, self._event(person, number, other))
        for number in range(draw.choice([0, 0, 1, 4])):
            sent = draw.randrange(0, 122)
            for step, status in enumerate(["sent", "delivered", "opened", "Clicked "]):
                if draw.random() < 0.2:
                    break
                row = {
                    "touch_id": f"t{person}-{number}",
                    "id_type": "openid",
                    "id": f"o{person}-0",
                    "channel": "sms",
                    "status": status,
                    "occurred_at": self._moment(sent + step),
                }
                self._arrive("touches", sent + step + draw.choice([0, 0, 2]), row)
                if draw.random() < 0.1:
                    self._arrive("touches", sent + step + 5, {**row, "occurred_at": self._moment(sent)})
        for number in range(draw.choice([0, 0, 1, 2])):
            ordered = draw.randrange(0, 122)
            order: dict[str, Any] = {
                "order_id": f"r{person}-{number}",
                "ordered_at": self._moment(ordered),
                "amount": draw.randrange(1, 300),
                "id_type": "openid",
                "id": f"o{person}-{draw.choice([0, 1])}",
                "status": "unpaid",
                "channel": draw.choice([None, "shop"]),
            }
            self._arrive("orders", ordered, order)
            self._arrive("orders", ordered + draw.choice([0, 2, 9]), {**order, "status": "paid"})
            if draw.random() < 0.2:
                self._arrive("orders", ordered + 12, {**order, "status": "cancelled"})
        if draw.random() < 0.4:
            self._arrive(
                "coupons",
                draw.randrange(60, 120),
                {
                    "coupon_id": f"c{person}",
                    "id_type": "openid",
                    "id": f"o{person}-0",
                    "issued_at": self._moment(59),
                    "expires_at": self._moment(draw.randrange(85, 125)),
                },
            )
        # The two openids of a person, and sometimes two persons, turn out to be one.
        for chance, other_id in ((0.5, f"o{person}-1"), (0.15, f"o{(person + 1) % PEOPLE}-0")):
            if draw.random() < chance:
                linked = draw.randrange(80, 122)
                self._arrive(
                    "identity_links",
                    linked,
                    {
                        "id_type_a": "openid",
                        "id_a": f"o{person}-0",
                        "id_type_b": "openid",
                        "id_b": other_id,
                        "linked_at": self._moment(linked),
                    },
                )

    def _dealings(self, person: int) -> None:
        """Facts of the other tables, most of them told again: with another order, owner, moment or amount."""
        draw, on = self.random, self.random.randrange(60, 118)
        user = {"id_type": "openid", "id": f"o{person}-0"}
        order = {**user, "order_id": f"s{person}", "ordered_at": self._moment(on), "amount": 50}
        # Some are paid days after it is said that they will be.
        paid = {"paid_at": self._moment(on + draw.choice([0, 3, 12])), "channel": "shop"}
        self._arrive("orders", on, {**order, "status": "unpaid"})
        self._arrive("orders", on + draw.choice([1, 4]), {**order, **paid, "campaign_id": "m1"})
        if draw.random() < 0.3:
            self._arrive("orders", on + 6, {**order, **paid, "id": f"o{person + 1}-0"})
        for line in (1, 2):
            row = {"order_id": f"s{person}", "line_number": line, "product_id": f"P{line}", "quantity": 1}
            self._arrive("order_lines", on + draw.choice([0, 5]), {**row, "amount": 25})
            if draw.random() < 0.3:
                self._arrive("order_lines", on + 8, {**row, "amount": 20})
        refund = {"refund_id": f"b{person}", "refunded_at": self._moment(on + 2), "amount": 5}
        self._arrive("refunds", on + 2, {**refund, "order_id": f"s{person}"})
        if draw.random() < 0.3:
            self._arrive("refunds", on + 7, {**refund, "order_id": f"s{max(0, person - 2)}"})
        contact = {"contact_id": f"w{person}", "added_at": self._moment(on)}
        contact |= {"staff_id": "st1", "state_code": draw.choice([None, "qr1", "qr2"])}
        self._arrive("contacts", on, contact)
        self._arrive("contacts", on + 3, {**contact, "deleted_at": self._moment(on + draw.choice([3, 9]))})
        lead = {**user, "lead_id": f"l{person}", "created_at": self._moment(on), "origin": "form"}
        self._arrive("leads", on, {**lead, "mql_at": self._moment(on + draw.choice([0, 5]))})
        self._arrive("leads", on + 6, {**lead, "won_at": self._moment(on + 8), "amount": 9})
        # Used before it expired, and told after.
        coupon = {**user, "coupon_id": f"k{person}", "issued_at": self._moment(on), "face_amount": 5}
        coupon["expires_at"] = self._moment(on + 5)
        self._arrive("coupons", on, coupon)
        self._arrive("coupons", on + 8, {**coupon, "used_at": self._moment(on + draw.choice([4, 11]))})
        consent = {**user, "purpose": "marketing", "changed_at": self._moment(on)}
        self._arrive("consents", on, {**consent, "status": "granted"})
        if draw.random() < 0.5:
            self._arrive("consents", on + 2, {**consent, "status": "withdrawn"})

    def deliver(self, home: WarehouseHome, until: int) -> None:
        for on, table in sorted(self.arrivals):
            if on <= until:
                home.arrive(table, self.arrivals.pop((on, table)), str(day(on)))


def held(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with duckdb.connect(str(path / "warehouse" / "warehouse.duckdb"), read_only=True) as connection:
        # Behaviour is that of the session's day.
        connection.execute("set variable as_of = (select max(as_of_date) from marts.user_wide)")
        return {
            table: connection.execute(f"select {columns} from {table} order by all").fetchall()
            for table, columns in COMPARED.items()
        }


def rebuilt(home: WarehouseHome, scratch: Path, number: int) -> dict[str, list[tuple[Any, ...]]]:
    shutil.copytree(home.home.path, scratch, ignore=shutil.ignore_patterns("warehouse"))
    other = WarehouseHome(scratch)
    other.build(str(day(number)), *WIDE, tests=False)
    return held(scratch)


@pytest.mark.parametrize(
    ("seed", "builds"),
    [
        (1, BUILDS),
        pytest.param(2, SIXTY_DAYS, marks=pytest.mark.long),
    ],
)
def test_forward_equals_rebuilt(tmp_path: Path, seed: int, builds: list[int]) -> None:
    brand, home = Brand(seed), WarehouseHome(tmp_path / "daily")
    home.home.secret_key()
    # Two persons who were one until the file that said so came again without it.
    link = {"id_type_a": "openid", "id_a": "o1-0", "id_type_b": "openid", "id_b": "o2-0"}
    home.arrive(
        "identity_links", [{**link, "linked_at": dt.datetime(2026, 1, 1)}], str(day(3)), path="links.csv"
    )
    # A file of contacts comes again without one of them.
    contacts = [{"contact_id": f"x{n}", "added_at": dt.datetime(2026, 1, 2, n)} for n in range(3)]
    home.arrive("contacts", contacts, str(day(3)), path="contacts.csv")
    went_on, lost = [], 0
    for number in builds:
        brand.deliver(home, number)
        if number == builds[-2]:
            home.arrive("contacts", contacts[1:], str(day(number)), path="contacts.csv")
            home.arrive(
                "identity_links",
                [{**link, "id_b": "o9-9", "linked_at": dt.datetime(2026, 1, 1)}],
                str(day(number)),
                path="links.csv",
            )
        compared = number in (builds[-3], builds[-1])
        went_on.append(home.advance(str(day(number)), *(WIDE if compared else STATE), tests=False))
        if home.row("select count(*) from intermediate.int_activity__owners where owner_key is null")[0]:
            home.build(str(day(number)), "what_nobody_owns_has_done_nothing")
            lost += 1
        if number == builds[-3]:
            damaged = Home(Path(shutil.copytree(home.home.path, tmp_path / "damaged")))
            _weekly_check_finds_one_wrong_row(damaged, day(number))
            shutil.rmtree(damaged.path)
    assert went_on == [None, *(str(day(number)) for number in builds[:-1])]
    assert lost > 0
    forward = held(home.home.path)
    assert len(forward["marts.user_wide"]) > PEOPLE / 2
    assert len(forward["intermediate.int_interests__sums"]) > 10
    _agrees_with_python(forward, day(builds[-1]))
    _weekly_check_passes(home.home, day(builds[-1]))
    if builds == SIXTY_DAYS:  # once more, without the check's own eyes
        for table, rows in rebuilt(home, tmp_path / "anew", builds[-1]).items():
            assert forward[table] == rows, table


@pytest.mark.long
def test_tags_go_forward_with_the_day(tmp_path: Path) -> None:
    """What tests/laws/test_tag_days_laws.py says of the statements, once through dbt."""
    brand, home = Brand(3), WarehouseHome(tmp_path / "daily")

    def tags() -> list[list[tuple[Any, ...]]]:
        judged = "select * exclude (changed_on) from intermediate.int_tags__judged order by all"
        return [home.rows(query) for query in (judged, "select * from marts.user_tags order by all")]

    for number in (100, 101):
        brand.deliver(home, number)
        home.advance(str(day(number)), "+user_tags", tests=False)
    forward = tags()
    went_on = "select model from main.running_models where since_date = date '{}' and model in ('int_tags__judged', 'user_tags')"
    assert len(home.rows(went_on.format(day(100)))) == 2
    left_alone = "select count(*) from intermediate.int_tags__judged where changed_on < date '{}'"
    assert home.row(left_alone.format(day(101)))[0] > PEOPLE / 10
    home.build(str(day(101)), "+user_tags", tests=False)
    assert not home.rows(went_on.format(day(100)))
    assert forward == tags()


def weekly_check(home: Home) -> dg.ExecuteInProcessResult:
    """The job that the schedule starts."""
    resources = {"workspace": Workspace(home_path=str(home.path))}
    job = dg.Definitions(jobs=[state_check_job()], resources=resources).resolve_job_def("state_check_job")
    return job.execute_in_process(raise_on_error=False)


def _weekly_check_passes(home: Home, held_until: dt.date) -> None:
    settings, _ = load_settings(home)
    outcome = weekly_check(home)
    failures = [event.message for event in outcome.all_events if event.is_failure]
    assert outcome.success, failures
    (output,) = outcome.filter_events(lambda event: event.is_successful_output)
    metadata: dict[str, Any] = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert metadata["as of"] == str(held_until)
    assert metadata["users"] > PEOPLE / 2
    assert metadata["users that differ"] == 0
    assert not (home.temp / "state_check").exists()
    assert held_day(home, settings) == held_until


def _weekly_check_finds_one_wrong_row(home: Home, held_until: dt.date) -> None:
    """A wrong row that no user's row shows yet: it would on a later day."""
    settings, _ = load_settings(home)
    assert held_day(home, settings) == held_until
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute(
            "update intermediate.int_users__touchpoints set activities_count = activities_count + 1 "
            "where rowid in (select min(rowid) from intermediate.int_users__touchpoints)"
        )
        # Names that no row has any more may stay; one that is lacking may not.
        connection.execute(
            "delete from intermediate.int_activity__kinds where kind_key in "
            "(select min(kind_key) from intermediate.int_activity__stream where removed_on is null)"
        )
    outcome = weekly_check(home)
    assert not outcome.success
    (failure,) = outcome.filter_events(lambda event: event.is_step_failure)
    message = str(failure.step_failure_data.error)
    for words in (
        "differs from its rebuild for 0 of",
        "int_users__touchpoints (2)",
        "jingxi run --full-refresh",
    ):
        assert words in message
    assert not (home.temp / "state_check").exists()
    # Nothing goes on from a state that is known to be wrong.
    assert held_day(home, settings) is None


def _agrees_with_python(forward: dict[str, list[tuple[Any, ...]]], last: dt.date) -> None:
    """Counts, days and habits once more, from the stream itself."""
    with (SEEDS_DIR / "rules" / "passive_activities.csv").open(encoding="utf-8") as file:
        passive = {row["activity"] for row in csv.DictReader(file)}
    own: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in forward["intermediate.int_activity"]:
        if row[1] not in passive:
            own[row[0]].append(row)
    found = {row[0]: row for row in forward["intermediate.int_users__behaviour"]}
    for user, rows in own.items():
        days = [row[3] for row in rows]
        recent = [row for row in rows if (last - row[3]).days < 90]
        values = found[user]
        assert values[1] == max(days)
        assert values[3:6] == tuple(
            len({at for at in days if (last - at).days < window}) for window in (7, 30, 90)
        )
        assert values[6] == sum((last - at).days < 30 for at in days)
        hours = Counter(row[2].replace(tzinfo=dt.UTC).astimezone(SHANGHAI).hour for row in recent)
        weekdays = Counter(row[3].isoweekday() for row in recent)
        assert values[-2] == (min(hours, key=lambda hour: (-hours[hour], hour)) if hours else None)
        assert values[-1] == (min(weekdays, key=lambda at: (-weekdays[at], at)) if weekdays else None)
