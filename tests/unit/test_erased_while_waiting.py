"""Who asks to be erased while a push waits is taken out of its payload; the others are sent once, and the books balance."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import get_args

import pytest

from orchestration.activation.activate import line_lock
from orchestration.activation.deliveries import Delivery, take_in_deliveries, write_deliveries
from orchestration.activation.erasure import forget_erased
from orchestration.activation.ledger import Ledger
from orchestration.cli.checkup import _erasure
from orchestration.errors import JingxiError
from orchestration.home import Home
from orchestration.settings import ActivationConfig
from tests.activation_support import KEYS, Crash, Engine, Kind, balances, engine, line
from tests.places import places
from tests.unit.published_support import NOW, PublishedHome

PEOPLE = {f"1380000{number:04}": f"value-{number}" for number in range(6)}
GONE = "13800000003"
OTHERS = {(key, f"upsert:{value}"): 1 for key, value in PEOPLE.items() if key != GONE}


def interrupted(folder: Path, kind: Kind, point: str, mode: str = "upsert") -> tuple[Engine, PublishedHome]:
    """A push that died at a point, in a home that knows everybody."""
    home = folder / "home"
    place = PublishedHome(home, {f"user-{phone}": {"phone": phone} for phone in PEOPLE})
    one = engine(home, kind, dict(PEOPLE), Ledger.open(Home(home)), line=line(mode))
    one.crash = lambda at: at == point
    with pytest.raises(Crash):
        one.activation.push(one.line, one.destination)
    one.crash = lambda at: False
    return one, place


def asks(place: PublishedHome, phone: str = GONE) -> None:
    place.land(
        "erasure_requests/dt=2026-07-01/a.csv",
        "request_id,id_type,id,requested_at",
        f"r1,phone,{phone},2026-07-01T08:00:00",
    )
    place.take()


def in_payloads(place: PublishedHome, *texts: str) -> set[str]:
    """Where the payloads hold one of the texts; the user_id of these tests is made of the phone."""
    found = places(place.home.path, texts)
    return {where for where in found if where.startswith("activation/") and not where.endswith(".user_id")}


@pytest.mark.parametrize("point", ["after_plan", "after_sending", "after_call"])
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_waiting_payload_forgets_who_asked(tmp_path: Path, kind: Kind, point: str) -> None:
    one, place = interrupted(tmp_path, kind, point)
    arrived = one.server.effects().get((GONE, "upsert:value-3"), 0)
    assert in_payloads(place, GONE, "value-3")
    asks(place)
    assert forget_erased(place.home, place.settings, at=NOW) == 1
    assert not in_payloads(place, GONE, "value-3")
    assert in_payloads(place, "13800000004"), "the others wait on"
    assert forget_erased(place.home, place.settings, at=NOW) == 0
    # The engine's own policy says nothing here: the payload alone keeps the person from being sent.
    for _ in range(3):
        one.activation.push(one.line, one.destination)
        for run in one.ledger.runs(in_doubt=True) if kind == "forgets" else ():
            one.ledger.decide(run.run_id, sent={KEYS.of_key("phone", key) for key, _ in one.server.delivered})
        one.planner.audience.pop(GONE, None)  # as the next publication has it
        one.planner.version = "v2"
    effects = one.server.effects()
    assert effects.pop((GONE, "upsert:value-3"), 0) == arrived, "not sent again"
    assert dict(effects) == OTHERS
    for run in one.ledger.runs(in_doubt=True):
        assert run.in_doubt == 1
        one.ledger.decide(run.run_id, sent=bool(arrived))
    assert all(balances(one.ledger))


def test_a_removal_keeps_the_key_that_it_needs(tmp_path: Path) -> None:
    one, place = interrupted(tmp_path, "by_record", "after_plan")
    (file,) = (place.home.path / "activation").glob("*.parquet")
    payload = one.payload(place.home, file.stem)
    rows = [
        [dataclasses.replace(row, operation="remove", fields={}) for row in chunk]
        for chunk in payload.chunks()
    ]
    payload.write(rows)
    asks(place)
    assert forget_erased(place.home, place.settings, at=NOW) == 0
    assert in_payloads(place, GONE)


def test_an_erasure_that_fails_is_told_until_it_has_worked(tmp_path: Path) -> None:
    one, place = interrupted(tmp_path, "by_record", "after_plan")
    one.ledger.dispose()
    asks(place)
    assert _erasure(place.home).ok
    broken = place.settings.model_copy(
        update={"activation": ActivationConfig(ledger_url=f"sqlite:///{tmp_path}/no/such/folder/ledger")}
    )
    for day in range(2):
        with pytest.raises(JingxiError):
            forget_erased(place.home, broken, at=NOW + dt.timedelta(days=day))
        assert in_payloads(place, GONE)
        finding = _erasure(place.home)
        assert not finding.ok
        assert finding.advice.startswith("Since 2026-07-01 people who asked to be erased may still be in")
        assert "jingxi run" in finding.advice and GONE not in finding.advice
    assert forget_erased(place.home, place.settings, at=NOW) == 1
    assert _erasure(place.home).ok


def test_a_line_that_is_being_pushed_is_left_to_its_own_end(tmp_path: Path) -> None:
    one, place = interrupted(tmp_path, "by_record", "after_plan")
    asks(place)
    with line_lock(place.home, one.line.activation):
        assert forget_erased(place.home, place.settings, at=NOW) == 0
    assert forget_erased(place.home, place.settings, at=NOW) == 1


def test_without_a_payload_nothing_is_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    assert forget_erased(home, PublishedHome(tmp_path / "other", {}).settings, at=NOW) == 0


def test_no_file_of_deliveries_outlives_the_next_intake(tmp_path: Path) -> None:
    place = PublishedHome(tmp_path / "home", {"ua": {"phone": GONE}})
    told = Delivery("push:1", "phone", place.hash("phone", GONE), "sms", "sent", NOW)
    assert write_deliveries(place.home, place.settings, [told], at=NOW).rows == 1
    assert {where for where in places(place.home.path, [GONE]) if where.startswith("deliveries/")}
    asks(place)
    take_in_deliveries(place.home, place.settings, now=NOW + dt.timedelta(hours=1))
    assert not {where for where in places(place.home.path, [GONE]) if where.startswith("deliveries/")}
