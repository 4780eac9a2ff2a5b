"""Guards on the size of an audience: what they allow, what they hold, and how a person accepts it."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from orchestration.errors import HeldError
from orchestration.home import Home
from orchestration.publishing.audience_files import AudienceExport, ExportResult, write_audience_files
from orchestration.publishing.audience_guard import LastFiles, SizeGuard, objections
from orchestration.publishing.publish import publish
from orchestration.settings import Settings

SETTINGS = Settings.model_validate({})
FIRST = dt.date(2026, 6, 29)
NOW = dt.datetime(2026, 7, 1, 2, 0, tzinfo=dt.UTC)
GUARD = SizeGuard(max_change_percent=20, min_members=2)


@pytest.mark.parametrize(
    ("guard", "members", "last", "words"),
    [
        (SizeGuard(min_members=10), 10, None, None),
        (SizeGuard(min_members=10), 9, None, "fewer than the 10"),
        (SizeGuard(max_members=10), 10, None, None),
        (SizeGuard(max_members=10), 11, None, "more than the 10"),
        (SizeGuard(max_change_percent=20), 1_000_000, None, None),
        (SizeGuard(max_change_percent=20), 120, 100, None),
        (SizeGuard(max_change_percent=20), 121, 100, "21.0 % more than the 100 of 2026-06-29"),
        (SizeGuard(max_change_percent=20), 80, 100, None),
        (SizeGuard(max_change_percent=20), 79, 100, "21.0 % fewer than the 100 of 2026-06-29"),
        (SizeGuard(max_change_percent=Decimal("0.5")), 1006, 1000, "its guard allows 0.5 %"),
        (SizeGuard(max_change_percent=Decimal("0.5")), 1005, 1000, None),
        (SizeGuard(max_change_percent=20), 0, 0, None),
        (SizeGuard(max_change_percent=20), 1, 0, "more than the 0 of"),
    ],
)
def test_bounds_themselves_are_allowed(
    guard: SizeGuard, members: int, last: int | None, words: str | None
) -> None:
    found = objections(guard, members, None if last is None else LastFiles(FIRST, last))
    if words is None:
        assert found == []
    else:
        assert len(found) == 1
        assert words in found[0]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def day(
    home: Home, as_of: dt.date, members: int, guard: SizeGuard = GUARD, *, accept: bool = False
) -> ExportResult:
    """Publish a day with so many members and write the files."""
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("create schema if not exists marts; create schema if not exists private")
        connection.execute(f"""
            create or replace table marts.audience_members as
            select 'a' as audience, 'u' || i as user_id, date '{as_of}' as as_of_date, date '{as_of}' as entered_date,
                i = 0 as is_holdout
            from range({members}) as t(i)
        """)
        connection.execute(
            "create or replace table marts.user_wide as select user_id from marts.audience_members"
        )
        connection.execute("create or replace table marts.user_tags(user_id varchar, tag varchar)")
        connection.execute(
            "create or replace table private.user_identifiers(user_id varchar, id_type varchar, id varchar)"
        )
    publish(home, SETTINGS, as_of=as_of, input_hash=f"{as_of} {members}", by_date={}, now=NOW)
    audience = AudienceExport("a", "A", formats=("csv",), guard=guard)
    return write_audience_files(home, audience, settings=SETTINGS, accept=accept)


def test_what_is_held_stays_held_until_it_is_accepted(home: Home) -> None:
    assert day(home, FIRST, 100).rows == 99
    files = {file: file.read_bytes() for file in home.exports.rglob("*") if file.is_file()}

    second, third, fourth = (FIRST + dt.timedelta(days=n) for n in (1, 2, 3))
    with pytest.raises(HeldError, match=r"130 members on 2026-06-30 are 30\.0 % more") as caught:
        day(home, second, 130)
    assert caught.value.exit_status == 1
    for words in ("the files of 2026-06-29 stay", "jingxi export a --accept"):
        assert words in str(caught.value)
    # A day later it is as far from the last files as before, though not from the day before.
    with pytest.raises(HeldError, match="more than the 100 of 2026-06-29"):
        day(home, third, 131)
    assert {file: file.read_bytes() for file in home.exports.rglob("*") if file.is_file()} == files

    assert day(home, third, 131, accept=True).rows == 130
    # What was accepted is not asked for again, and is what the next day is judged against.
    assert day(home, third, 131).unchanged
    assert day(home, fourth, 150).rows == 149


def test_every_bound_that_is_broken_is_named_and_a_first_file_is_judged_too(home: Home) -> None:
    with pytest.raises(
        HeldError, match=r"1 members on 2026-06-29 are fewer than the 2 .*; no file is written"
    ):
        day(home, FIRST, 1)
    assert not list(home.exports.rglob("*.csv"))
    assert day(home, FIRST, 1, accept=True).rows == 0
    assert day(home, FIRST, 1).unchanged
    with pytest.raises(HeldError, match=r"fewer than the 2 .*, and 100.0 % fewer than the 1 of"):
        day(home, FIRST + dt.timedelta(days=1), 0)


def test_a_later_day_or_a_broken_export_is_no_yardstick(home: Home) -> None:
    day(home, FIRST, 100)
    export = home.exports / "a"
    for name, manifest in (("2026-07-05", {"members": 5}), ("2026-06-28", {"members": "x"}), ("old", {})):
        (export / name).mkdir()
        (export / name / "manifest.json").write_text(json.dumps(manifest))
    assert day(home, FIRST + dt.timedelta(days=1), 110).rows == 109


def test_another_guard_leaves_the_files_untouched(home: Home) -> None:
    day(home, FIRST, 100)
    assert day(home, FIRST, 100, SizeGuard(max_members=500)).unchanged


def test_the_job_holds_one_audience_and_writes_the_others(home: Home) -> None:
    import dagster as dg

    from orchestration.assets.published import GUARD_CHECK, audience_file_assets, audience_key
    from orchestration.resources.workspace import Workspace

    day(home, FIRST, 100)
    second = FIRST + dt.timedelta(days=1)
    with pytest.raises(HeldError):
        day(home, second, 500)
    exports = [
        AudienceExport("a", "A", formats=("csv",), guard=GUARD),
        AudienceExport("b", "B", formats=("csv",), guard=SizeGuard(max_members=10)),
        AudienceExport("c", "C", formats=("csv",)),
    ]
    assets = audience_file_assets(exports, dg.DailyPartitionsDefinition("2026-06-01"))

    def run(as_of: dt.date) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                [assets],
                instance=instance,
                partition_key=as_of.isoformat(),
                resources={"workspace": Workspace(home_path=str(home.path))},
            )

    result = run(second)
    assert result.success
    checks = {check.asset_key: check for check in result.get_asset_check_evaluations()}
    assert {key: check.passed for key, check in checks.items()} == {
        audience_key("a"): False,
        audience_key("b"): True,
    }
    held = checks[audience_key("a")]
    assert (held.check_name, held.severity) == (GUARD_CHECK, dg.AssetCheckSeverity.ERROR)
    assert "500 members on 2026-06-30 are 400.0 % more" in str(held.metadata["sentence"].value)
    written = {
        event.asset_key for event in result.get_asset_materialization_events() if event.asset_key is not None
    }
    assert written == {audience_key("b"), audience_key("c")}
    assert not (home.exports / "a" / "2026-06-30").exists()
    assert (home.exports / "c" / "2026-06-30" / "manifest.json").exists()
    # A back-fill of an earlier day writes no files and judges nothing.
    earlier = run(FIRST)
    assert earlier.success
    assert earlier.get_asset_check_evaluations() == []
