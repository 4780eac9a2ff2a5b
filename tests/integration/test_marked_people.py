"""After pushes that went wrong in many ways, who was sent and the secret that signed it are looked for in every file of the
home, databases and Parquet files read as tables: they stand nowhere but where they must."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from orchestration.activation import service
from orchestration.activation.lines import Line, LineField, LineGuard
from orchestration.activation.push import Patience
from orchestration.activation.service import open_desk
from orchestration.assets import activation as assets
from orchestration.assets.published import PUBLISHED_KEY, audience_key
from orchestration.home import Home
from orchestration.jobs import ACTIVATION_JOB, activation_job
from orchestration.partitions import business_days
from orchestration.resources.workspace import Onlooker
from orchestration.settings import Settings, load_settings
from tests.fakes.receiver import FakeReceiver
from tests.fakes.server import RESET_AFTER, SERVER_ERROR, Fault
from tests.places import places

# Where identifiers in clear may stand, and why. Everywhere else they may not.
ALLOWED = {
    r"raw/.*": "what the company handed in, as accepted",
    r"rejected/.*": "and what of it was refused, so that somebody can correct it",
    r"warehouse/warehouse\.duckdb stg_raw__\w+\.\w+": "staging shows raw rows",
    r"warehouse/warehouse\.duckdb int_\w+\.\w+": "identity works on identifiers",
    r"warehouse/warehouse\.duckdb user_identifiers\.id": "the private identity model",
    r"published/private\.duckdb user_identifiers\.id": "and what is published of it for exports and pushes, mode 0600",
    r"exports/.*": "audience files that a person asked for",
    r"outbox/.*": "and files that a line delivers",
}


@pytest.fixture
def home(small_home: Path, tmp_path: Path, receiver: FakeReceiver) -> Home:
    copy = Home(Path(shutil.copytree(small_home, tmp_path / "home")))
    copy.settings_file.write_text("activation: {max_age_days: 36500}\n")
    (copy.path / "destinations.yml").write_text(
        f"crm: {{kind: webhook, url: '{receiver.url}/in', secret: {{env: HOOK_SECRET}}, allow_loopback: true, batch_size: 2}}\n"
    )
    return copy


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """The sample's line of tags, to a webhook and with all that is known of a person."""
    own = replace(
        service.declared_lines()["dormant_tag_list"],
        destination="crm",
        mode="full",
        key="phone",
        guard=LineGuard(None, None),
        fields=(
            LineField("email", "identifier", "email"),
            LineField("unionid", "identifier", "unionid"),
            LineField("last_active", "column", "last_active_date"),
        ),
    )
    monkeypatch.setattr(service, "_declared", lambda _: ({own.activation: own}, {}))
    return own


def marks(home: Home, audience: str) -> dict[str, list[str]]:
    """Identifiers of members of an audience by kind."""
    with duckdb.connect() as session:
        session.execute(
            f"attach '{home.marts}' as marts (read_only); attach '{home.private_marts}' as private (read_only)"
        )
        rows = session.execute(
            "select id_type, list(id) from private.main.user_identifiers semi join marts.main.audience_members as members "
            f"on members.user_id = user_identifiers.user_id and members.audience = '{audience}' "
            "where id_type in ('phone', 'email', 'unionid') group by id_type"
        ).fetchall()
    return dict(rows)


def push_in_dagster(home: Home, line: Line, monkeypatch: pytest.MonkeyPatch) -> dg.ExecuteInProcessResult:
    partitions = business_days(Settings())

    @dg.asset(key=PUBLISHED_KEY, partitions_def=partitions)
    def published() -> None:
        return

    @dg.asset(key=audience_key(line.audience), deps=[PUBLISHED_KEY], partitions_def=partitions)
    def files() -> None:
        return

    made = dg.Definitions(
        assets=[published, files, *assets.activation_assets([line])],
        asset_checks=[assets.publication_check()],
        jobs=[activation_job()],
        resources={"onlooker": Onlooker(home_path=str(home.path))},
    )
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        return made.resolve_job_def(ACTIVATION_JOB).execute_in_process(
            instance=instance, raise_on_error=False
        )


def test_marked_people_and_secrets_stand_nowhere_but_where_they_must(
    home: Home,
    line: Line,
    receiver: FakeReceiver,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("DEBUG")
    known = marks(home, line.audience)
    assert len(known["phone"]) > 5 and known.keys() == {"phone", "email", "unionid"}
    settings = load_settings(home)[0]
    told: list[str] = []
    # Refused, lost, broken and answered with the very values, then settled.
    receiver.reject_keys = {known["phone"][0]: known["phone"][0]}
    body = {"message": " ".join([*known["phone"], receiver.SECRET])}
    for faults in (
        [RESET_AFTER, SERVER_ERROR, Fault("answer", body=body)],
        [SERVER_ERROR] * 9,
        [Fault("http", status=403)],
    ):
        receiver.faults.clear()
        receiver.faults.script("*", faults)
        desk = open_desk(home, settings, patience=Patience(retries=1, first_wait=0.01, longest_wait=0.01))
        for retry in (False, True):
            told += [repr(done := desk.push(line, retry=retry)), str(done.to_dict())]
        told.append(repr(desk.ledger.runs()))
        desk.close()
    result = push_in_dagster(home, line, monkeypatch)
    assert result.success and receiver.applied
    texts = [one for ids in known.values() for one in ids[:8]] + [
        receiver.SECRET,
        receiver.SECRET.removeprefix("whsec_"),
    ]
    captured = capfd.readouterr()
    for text in texts:
        assert all(text not in one for one in (*told, caplog.text, captured.out, captured.err))
    found = places(home.path, texts)
    assert found >= {
        "published/private.duckdb user_identifiers.id",
        "warehouse/warehouse.duckdb user_identifiers.id",
    }
    assert {place for place in found if not any(re.fullmatch(one, place) for one in ALLOWED)} == set()
    assert list((home.path / "activation").glob("*.parquet")) == []


@pytest.mark.parametrize("kind", ["duckdb", "parquet", "sqlite", "zip", "text", "name"])
def test_a_marker_is_found_in_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    text = "19912345678"
    with duckdb.connect() as session:
        match kind:
            case "duckdb":
                session.execute(
                    f"attach '{tmp_path / 'a.db'}' as a; create table a.t as select [{{'x': 'tel {text}'}}] as held"
                )
            case "parquet":
                session.execute(
                    f"copy (select {text}::bigint as held) to '{tmp_path / 'a.bin'}' (format parquet, compression zstd)"
                )
            case "sqlite":
                import sqlite3

                with sqlite3.connect(tmp_path / "a.db") as connection:
                    connection.execute("create table t as select ? as held", [f"+86{text}"])
            case "zip":
                shutil.make_archive(
                    str(tmp_path / "a"), "zip", _folder(tmp_path.parent / f"{tmp_path.name}-zip", text)
                )
            case "text":
                (tmp_path / "a").write_text(text, encoding="utf-16")
            case _:
                (tmp_path / f"{text}.txt").write_text("")
    assert len(places(tmp_path, [text])) == 1
    assert places(tmp_path, ["18812345678"]) == set()


def _folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "inside.xml").write_text(f"<v>{text}</v>")
    return path
