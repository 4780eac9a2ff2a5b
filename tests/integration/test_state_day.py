"""What decides whether a build goes on from the day that the warehouse holds, and that both ways give the same."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.errors import IntakeError
from orchestration.ingestion.registry import Registry
from orchestration.settings import load_settings
from orchestration.warehouse.project import input_hash
from orchestration.warehouse.raw_files import replace_raw_file
from orchestration.warehouse.state_day import forward_from, held_day, moving_to
from tests.warehouse_home import WarehouseHome

EVENTS = "int_activity__event_keys"


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
    return home.rows(f"select * from intermediate.{EVENTS} order by all")


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
            event("e1", "2026-01-01 10:00:01"),
            event("e2", "2026-01-02 10:00:01"),
            event("e2", "2026-01-02 10:00:02"),
            event(None, "2026-01-02 11:00:00"),
        ],
        "2026-01-02",
    )
    home.arrive("events", [event("e2", "2026-01-02 10:00:03")], "2026-01-03")
    home.arrive("events", [event("e9", "2026-01-05 10:00:00")], "2026-01-05")
    assert home.advance("2026-01-03", EVENTS) == "2026-01-01"
    assert went_on_from(home) == "2026-01-01"
    forward = staged(home)
    assert len(forward) == 4
    assert home.rows(
        "select cast(occurred_at as varchar), cast(_first_arrived_on as varchar) "
        f"from intermediate.{EVENTS} where is_repeated order by 1"
    ) == [("2026-01-01 10:00:01", "2026-01-01"), ("2026-01-02 10:00:03", "2026-01-02")]
    assert home.advance("2026-01-03", EVENTS) == "2026-01-03"
    assert staged(home) == forward
    home.build("2026-01-03", EVENTS)
    assert went_on_from(home) is None
    assert staged(home) == forward


def test_what_is_told_again_unchanged_is_left_as_it_is(tmp_path: Path) -> None:
    home = WarehouseHome(tmp_path)
    moment = "2026-01-01 03:00:00"
    same = {"channel": "app", "touchpoint": "home", "product_id": "P1", "session_id": "s1"}
    changed: dict[str, dict[str, Any]] = {
        "who": {"id": "o2"},
        "what": {"event_name": "cart"},
        "where": {"touchpoint": "list"},
        "about": {"product_id": "P2"},
        "when": {"occurred_at": "2026-01-01 03:00:01"},
        "session": {"session_id": "s2"},
        "no session": {"session_id": None},
        "other day": {"occurred_at": "2025-12-31 03:00:00"},
        "not yet": {"occurred_at": "2026-01-09 03:00:00"},
        "same": {},
    }
    touch = {"touch_id": "t1", "id_type": "openid", "id": "o1", "channel": "sms", "occurred_at": moment}
    first = [event(name, moment, **same) for name in changed]
    again = [{**row, **changed[str(row["event_id"])]} for row in first]
    touches = [{**touch, "status": status} for status in ("sent", "opened")]
    home.arrive("events", first, "2026-01-01")
    home.arrive("touches", touches, "2026-01-01")
    assert home.advance("2026-01-01", "+int_activity__stream", tests=False) is None
    home.arrive("events", again, "2026-01-02")
    home.arrive("touches", [touches[0], {**touches[1], "id": "o2"}], "2026-01-02")
    assert home.advance("2026-01-02", "+int_activity__stream", tests=False) == "2026-01-01"
    keys = ", ".join(f"('{name}', hash('{name}'))" for name in changed)
    held = home.rows(
        "select name, list((cast(added_on as varchar), cast(removed_on as varchar)) order by added_on) "
        "from intermediate.int_activity__stream "
        f"inner join (values {keys}, ('t1 sent', hash('t1', 'sent')), ('t1 opened', hash('t1', 'opened'))) "
        "as names(name, key) on activity_key = key group by 1"
    )
    kept, ended = ("2026-01-01", None), ("2026-01-01", "2026-01-02")
    expected = {name: [ended, ("2026-01-02", None)] for name in [*changed, "t1 opened"]}
    expected |= {"same": [kept], "t1 sent": [kept], "not yet": [ended]}
    assert dict(held) == expected


def test_gaps_of_deleted_rows_are_closed_once_a_week(home: WarehouseHome) -> None:
    def stored() -> int:
        query = f"select sum(count) from pragma_storage_info('intermediate.{EVENTS}') where column_id = 0 and segment_type <> 'VALIDITY'"
        return int(home.row(query)[0])

    held = []
    for day, arrives in (("2026-01-02", "e1"), ("2026-01-03", "e1"), ("2026-01-05", "e2")):
        home.arrive("events", [event(arrives, "2026-01-01 10:00:00")], day)
        assert home.advance(day, EVENTS) is not None
        held.append((len(staged(home)), stored()))
    assert [live for live, _ in held] == [2, 2, 3]
    assert [rows > live for live, rows in held] == [True, True, False]


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
    keys = "select event_key from intermediate." + EVENTS
    assert home.rows(
        f"select event_id from (values ('e1'), ('e5'), ('e6')) as e(event_id) where hash(event_id) in ({keys})"
    ) == [
        ("e1",),
        ("e6",),
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


@pytest.mark.parametrize("content", ["", "[]", '["2026-01-01", "x"]', '["tomorrow", "x", "y"]', "{", "null"])
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


def test_a_data_test_that_fails_leaves_no_day_and_the_next_build_mends_it(tmp_path: Path) -> None:
    model = "int_identity__fact_sightings"
    home = WarehouseHome(tmp_path / "home")
    home.arrive("events", [event("e1", "2026-01-01 10:00:00")], "2026-01-01")
    assert home.advance("2026-01-01", f"+{model}") is None
    right = home.rows(f"select * exclude (witness, changed_on) from intermediate.{model}")
    with duckdb.connect(str(home.home.warehouse)) as connection:
        connection.execute(f"insert into intermediate.{model} from intermediate.{model}")
    home.arrive("members", [{"member_id": "m1"}], "2026-01-02")
    with pytest.raises(AssertionError, match="one_row_per_int_identity__fact_sightings"):
        home.advance("2026-01-02", f"+{model}")
    assert not mark(home).exists()
    assert home.advance("2026-01-02", f"+{model}") is None
    assert home.rows(f"select * exclude (witness, changed_on) from intermediate.{model}") == right


# --- staging ---


def contact(contact_id: str, staff_id: str | None, name: str) -> dict[str, Any]:
    return {
        "contact_id": contact_id,
        "staff_id": staff_id,
        "added_at": "2026-01-01 10:00:00",
        "properties": f'{{"name": "{name}"}}',
    }


def test_staged_rows_are_replaced_and_withdrawn_as_a_rebuild_would(tmp_path: Path) -> None:
    model, rows = "stg_raw__contacts", "from staging.stg_raw__contacts order by all"
    home = WarehouseHome(tmp_path / "home")

    def advanced(day: str, since: str | None) -> list[tuple[Any, ...]]:
        """Name and first day of each contact, when the build went on from that day and equals one made anew."""
        assert home.advance(day, model) == since
        assert went_on_from(home, model) == since
        anew = WarehouseHome(Path(shutil.copytree(home.home.path, tmp_path / f"anew-{day}")))
        anew.build(day, model)
        assert home.rows(rows) == anew.rows(rows)
        return home.rows(
            "select contact_id, staff_id, properties ->> 'name', cast(_first_arrived_on as varchar) "
            f"from staging.{model} order by all"
        )

    home.arrive("contacts", [contact("c1", "s1", "a"), contact("c2", "s1", "a")], "2026-01-01")
    snapshot = [contact("c2", "s1", "b"), contact("c3", "s1", "b"), contact("c4", None, "b")]
    home.arrive("contacts", snapshot, "2026-01-01", path="contacts/all.csv")
    advanced("2026-01-01", None)
    home.arrive("contacts", [contact("c1", "s1", "c"), contact("c1", "s2", "c")], "2026-01-02")
    home.arrive("contacts", [contact("c4", None, "c")], "2026-01-02")
    assert advanced("2026-01-02", "2026-01-01") == [
        ("c1", "s1", "c", "2026-01-01"),
        ("c1", "s2", "c", "2026-01-02"),
        ("c2", "s1", "b", "2026-01-01"),
        ("c3", "s1", "b", "2026-01-01"),
        ("c4", None, "c", "2026-01-01"),
    ]
    # The version before counts again, a contact is gone, one is not as old as it was, and one is new.
    home.arrive("contacts", [contact("c5", "s1", "d")], "2026-01-03", path="contacts/all.csv")
    assert advanced("2026-01-03", "2026-01-02") == [
        ("c1", "s1", "c", "2026-01-01"),
        ("c1", "s2", "c", "2026-01-02"),
        ("c2", "s1", "a", "2026-01-01"),
        ("c4", None, "c", "2026-01-02"),
        ("c5", "s1", "d", "2026-01-03"),
    ]


# --- raw files that change in place ---


def only_raw_file(home: WarehouseHome) -> Path:
    (file,) = (home.home.raw / "events" / "2026-01-01").iterdir()
    return file


def without_the_first_event(file: Path, target: Path) -> Path:
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (from '{file}' where event_id is distinct from 'e1') to '{target}' (format parquet)"
        )
    return target


def test_a_raw_file_that_somebody_changed_is_not_gone_on_from(home: WarehouseHome, tmp_path: Path) -> None:
    settings, _ = load_settings(home.home)
    file = only_raw_file(home)
    assert forward_from(home.home, settings, dt.date(2026, 1, 2)) == dt.date(2026, 1, 1)
    shutil.copyfile(without_the_first_event(file, tmp_path / "other.parquet"), file)
    assert forward_from(home.home, settings, dt.date(2026, 1, 2)) is None
    assert home.advance("2026-01-02", EVENTS) is None
    assert len(staged(home)) == 1
    file.unlink()
    assert forward_from(home.home, settings, dt.date(2026, 1, 2)) is None


def test_a_raw_file_is_replaced_and_everything_knows(home: WarehouseHome, tmp_path: Path) -> None:
    settings, _ = load_settings(home.home)
    first = dt.date(2026, 1, 1)
    file = only_raw_file(home)
    path = file.relative_to(home.home.path).as_posix()
    hash_before = input_hash(home.home, settings, first)
    same = Path(shutil.copyfile(file, tmp_path / "same.parquet"))
    assert not replace_raw_file(home.home, path, same)
    assert not same.exists()
    assert (held_day(home.home, settings), input_hash(home.home, settings, first)) == (first, hash_before)
    # One row is gone; it counted for every day, so every day has another input hash.
    assert replace_raw_file(home.home, path, without_the_first_event(file, tmp_path / "other.parquet"))
    hash_after = input_hash(home.home, settings, first)
    assert hash_after != hash_before
    assert held_day(home.home, settings) is None
    assert Registry(home.home).arrivals(first)[0].accepted == 1
    assert home.advance("2026-01-02", EVENTS) is None
    assert len(staged(home)) == 1
    assert home.advance("2026-01-03", EVENTS) == "2026-01-02"
    assert input_hash(home.home, settings, first) == hash_after


@pytest.mark.parametrize("dies_at", ["replace", "end_rewrite"])
def test_a_replacement_that_dies_on_the_way_counts_as_what_lies_there(
    home: WarehouseHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    settings, _ = load_settings(home.home)
    first = dt.date(2026, 1, 1)
    file = only_raw_file(home)
    path = file.relative_to(home.home.path).as_posix()
    other = without_the_first_event(file, tmp_path / "other.parquet")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path if dies_at == "replace" else Registry, dies_at, die)
        replace_raw_file(home.home, path, Path(shutil.copyfile(other, tmp_path / "first.parquet")))
    assert held_day(home.home, settings) is None
    in_between = input_hash(home.home, settings, first)
    assert replace_raw_file(home.home, path, other)
    after = input_hash(home.home, settings, first)
    assert (in_between == after) == (dies_at == "end_rewrite")
    assert Registry(home.home).arrivals(first)[0].accepted == 1


def test_only_a_raw_file_is_replaced_and_only_by_one_like_it(home: WarehouseHome, tmp_path: Path) -> None:
    settings, _ = load_settings(home.home)
    file = only_raw_file(home)
    path = file.relative_to(home.home.path).as_posix()
    other = tmp_path / "other.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"copy (select 1 as event_id) to '{other}' (format parquet)")
    with pytest.raises(IntakeError, match="other columns"):
        replace_raw_file(home.home, path, other)
    other.write_text("event_id")
    with pytest.raises(IntakeError, match="cannot be read as Parquet"):
        replace_raw_file(home.home, path, other)
    with pytest.raises(IntakeError, match="is no raw file"):
        replace_raw_file(home.home, "raw/events/2026-01-01/none.parquet", other)
    assert held_day(home.home, settings) == dt.date(2026, 1, 1)
