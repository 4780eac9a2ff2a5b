"""What decides whether a build goes on from the day that the warehouse holds, and that both ways give the same."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestration.settings import load_settings
from orchestration.warehouse.state_day import forward_from, moving_to
from tests.warehouse_home import WarehouseHome

EVENTS = "stg_raw__events"


def event(event_id: str | None, occurred_at: str, **more: Any) -> dict[str, Any]:
    return {
        "id_type": "openid",
        "id": "o1",
        "event_name": "view",
        "occurred_at": occurred_at,
        "event_id": event_id,
        **more,
    }


def staged(home: WarehouseHome) -> list[tuple[Any, ...]]:
    return home.rows(f"select * from staging.{EVENTS} order by all")


def went_on_from(home: WarehouseHome, model: str = EVENTS) -> str | None:
    (since,) = home.row(f"select since_date from main.running_models where model = '{model}'")
    return str(since) if since else None


def mark(home: WarehouseHome) -> Path:
    return home.home.warehouse.with_name("state_day.json")


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = WarehouseHome(tmp_path_factory.mktemp("first_day"))
    home.arrive(
        "events", [event("e1", "2026-01-01 10:00:00"), event(None, "2026-01-01 11:00:00")], "2026-01-01"
    )
    assert home.advance("2026-01-01", EVENTS) is None
    return home.home.path


@pytest.fixture
def home(first_day: Path, tmp_path: Path) -> WarehouseHome:
    """A home that holds the first of January, with what dbt has parsed."""
    return WarehouseHome(Path(shutil.copytree(first_day, tmp_path / "home")))


def test_new_files_are_added_and_new_versions_replace(home: WarehouseHome) -> None:
    home.arrive(
        "events",
        [
            event("e1", "2026-01-01 10:00:00", channel="corrected"),
            event("e2", "2026-01-02 10:00:00", channel="first"),
            event("e2", "2026-01-02 10:00:00", channel="repeated"),
            event(None, "2026-01-02 11:00:00"),
        ],
        "2026-01-02",
    )
    home.arrive("events", [event("e2", "2026-01-02 10:00:00", channel="latest")], "2026-01-03")
    home.arrive("events", [event("e9", "2026-01-05 10:00:00")], "2026-01-05")
    assert home.advance("2026-01-03", EVENTS) == "2026-01-01"
    assert went_on_from(home) == "2026-01-01"
    forward = staged(home)
    assert len(forward) == 4
    assert home.rows(
        f"select event_id, channel, cast(_first_arrived_on as varchar) from staging.{EVENTS} where event_id in ('e1', 'e2') order by 1"
    ) == [("e1", "corrected", "2026-01-01"), ("e2", "latest", "2026-01-02")]
    assert home.advance("2026-01-03", EVENTS) == "2026-01-03"
    assert staged(home) == forward
    home.build("2026-01-03", EVENTS)
    assert went_on_from(home) is None
    assert staged(home) == forward


def test_what_counted_for_the_day_has_changed(home: WarehouseHome) -> None:
    home.arrive("events", [event("e0", "2025-12-31 10:00:00")], "2026-01-01")
    assert home.advance("2026-01-02", EVENTS) is None
    assert len(staged(home)) == 3


def test_another_key_builds_anew(home: WarehouseHome) -> None:
    settings, _ = load_settings(home.home)
    home.home.secret_key_file.unlink()
    assert forward_from(home.home, settings, dt.date(2026, 1, 2)) is None


def test_another_setting_builds_anew(home: WarehouseHome) -> None:
    settings, _ = load_settings(home.home, overrides=["rfm.frequency=orders"])
    assert forward_from(home.home, settings, dt.date(2026, 1, 2)) is None


def test_a_file_of_a_heavy_table_taken_in_again_builds_anew(home: WarehouseHome) -> None:
    home.arrive("events", [event("e5", "2026-01-02 10:00:00")], "2026-01-02", path="events/all.csv")
    home.arrive("members", [{"member_id": "m1"}], "2026-01-02", path="members/all.csv")
    assert home.advance("2026-01-02", EVENTS) == "2026-01-01"
    home.arrive("members", [{"member_id": "m2"}], "2026-01-03", path="members/all.csv")
    assert home.advance("2026-01-03", EVENTS) == "2026-01-02"
    home.arrive("events", [event("e6", "2026-01-02 10:00:00")], "2026-01-04", path="events/all.csv")
    assert home.advance("2026-01-04", EVENTS) is None
    assert [
        row[0]
        for row in home.rows(f"select event_id from staging.{EVENTS} where event_id like 'e_' order by 1")
    ] == [
        "e1",
        "e6",
    ]


def test_an_earlier_day_is_built_anew_and_is_then_the_one_held(home: WarehouseHome) -> None:
    home.arrive("events", [event("e2", "2026-01-02 10:00:00")], "2026-01-02")
    home.arrive("events", [event("e3", "2026-01-03 10:00:00")], "2026-01-03")
    assert home.advance("2026-01-03", EVENTS) == "2026-01-01"
    assert home.advance("2026-01-02", EVENTS) is None
    assert len(staged(home)) == 3
    assert home.advance("2026-01-03", EVENTS) == "2026-01-02"
    assert len(staged(home)) == 4


def test_a_build_that_does_not_finish_leaves_no_day(home: WarehouseHome) -> None:
    settings, _ = load_settings(home.home)
    with (
        pytest.raises(RuntimeError),
        moving_to(home.home, settings, dt.date(2026, 1, 2)) as since,
    ):
        assert since is not None
        raise RuntimeError
    assert not mark(home).exists()
    assert forward_from(home.home, settings, dt.date(2026, 1, 2)) is None


@pytest.mark.parametrize("content", ["", "[]", '["2026-01-01"]', '["tomorrow", "x"]', "{", "null"])
def test_a_damaged_mark_is_no_mark(home: WarehouseHome, content: str) -> None:
    settings, _ = load_settings(home.home)
    assert forward_from(home.home, settings, dt.date(2026, 1, 2)) == dt.date(2026, 1, 1)
    mark(home).write_text(content)
    assert forward_from(home.home, settings, dt.date(2026, 1, 2)) is None


def test_a_model_built_by_hand_since_then_is_built_anew(home: WarehouseHome) -> None:
    home.arrive("events", [event("e2", "2026-01-02 10:00:00")], "2026-01-02")
    home.build("2026-01-02", EVENTS)
    # The mark still says the first day; the model's own record does not.
    assert home.advance("2026-01-02", EVENTS) == "2026-01-01"
    assert went_on_from(home) is None
    assert len(staged(home)) == 3
