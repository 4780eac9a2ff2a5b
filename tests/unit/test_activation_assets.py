"""Activation lines in Dagster: apart from the main job, held by checks, told once when they fail and once when they work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.activation import service
from orchestration.activation.activate import Outcome
from orchestration.activation.alerts import note
from orchestration.assets import activation as assets
from orchestration.assets.published import PUBLISHED_KEY, audience_key
from orchestration.destinations.secrets import SecretSource
from orchestration.destinations.wecom_robot import StaffRobot
from orchestration.home import Home
from orchestration.jobs import ACTIVATION_JOB, MAIN_JOB, activation_job, main_job
from orchestration.partitions import business_days
from orchestration.resources.workspace import Onlooker
from orchestration.settings import Settings
from tests.activation_support import Engine, engine, line
from tests.fakes.server import ScaledClock
from tests.fakes.wecom import FakeWeCom

PEOPLE = {f"p{i}": "1" for i in range(5)}


def definitions(folder: Path) -> dg.Definitions:
    partitions = business_days(Settings())

    @dg.asset(key=PUBLISHED_KEY, partitions_def=partitions)
    def published() -> None:
        return

    @dg.asset(key=audience_key("winback"), deps=[PUBLISHED_KEY], partitions_def=partitions)
    def files() -> None:
        return

    return dg.Definitions(
        assets=[published, files, *assets.activation_assets([line()])],
        asset_checks=[assets.publication_check()],
        jobs=[main_job(), activation_job()],
        resources={"onlooker": Onlooker(home_path=str(folder))},
    )


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A push to a fake destination behind the asset; the publication is whole."""
    made = engine(tmp_path, "by_record", PEOPLE)

    class Desk:
        def push(self, line: Any) -> Outcome:
            return made.activation.push(line, made.destination)

        def close(self) -> None:
            return

    monkeypatch.setattr(assets, "open_desk", lambda *_, **__: Desk())
    monkeypatch.setattr(assets, "verify_published", lambda _: [])
    monkeypatch.setattr(assets, "published_as", lambda _: ("day", "hash"))
    return made


def run(folder: Path) -> dg.ExecuteInProcessResult:
    job = definitions(folder).resolve_job_def(ACTIVATION_JOB)
    return job.execute_in_process(raise_on_error=False)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (found,) = result.asset_materializations_for_node("activation__winback_fake")
    return {name: value.value for name, value in found.metadata.items()}


def test_the_main_job_never_pushes(tmp_path: Path) -> None:
    made = definitions(tmp_path)
    key = assets.activation_key("winback_fake")
    assert key not in made.resolve_job_def(MAIN_JOB).asset_layer.executable_asset_keys
    assert key in made.resolve_job_def(ACTIVATION_JOB).asset_layer.executable_asset_keys


def test_a_line_says_what_it_sent_and_a_second_run_sends_nothing(tmp_path: Path, one: Engine) -> None:
    result = run(tmp_path)
    assert result.success
    told = metadata(result)
    assert (told["added"], told["accepted"], told["rejected"], told["held"], told["in doubt"]) == (
        5,
        5,
        0,
        0,
        0,
    )
    calls = one.server.calls
    again = run(tmp_path)
    assert again.success and metadata(again)["run"] == "nothing to send" and one.server.calls == calls


def test_a_held_line_is_no_materialisation_but_a_failed_check(tmp_path: Path, one: Engine) -> None:
    one.planner.objections = ("Too many.",)
    result = run(tmp_path)
    assert result.success and not result.asset_materializations_for_node("activation__winback_fake")
    (check,) = [
        found for found in result.get_asset_check_evaluations() if found.check_name == assets.SENT_CHECK
    ]
    assert not check.passed and "jingxi push --approve" in str(check.metadata["sentence"].value)
    assert one.server.calls == 0


def test_without_a_whole_publication_nothing_is_pushed(
    tmp_path: Path, one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "verify_published", lambda _: ["marts.duckdb is damaged."])
    assert not run(tmp_path).success
    assert one.server.calls == 0 and one.ledger.runs() == []


def test_alerts_come_once_when_a_line_fails_and_once_when_it_works(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert note(home, line(), ok=True) is None
    first = note(home, line(), ok=False, sentence="no_permission.")
    assert first and first.kind == "failed"
    assert note(home, line(), ok=False, sentence="no_permission.") is None
    back = note(home, line(), ok=True)
    assert back and back.kind == "recovered" and "works again" in back.sentence
    assert note(home, line(), ok=True) is None
    logged = [json.loads(text) for text in (home.logs / "alerts.log").read_text().splitlines()]
    assert [one["kind"] for one in logged] == ["failed", "recovered"]


def test_the_staffs_group_hears_of_the_first_failure_and_of_the_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine(tmp_path, "by_record", PEOPLE)
    monkeypatch.setenv("ROBOT", "robot-key")
    monkeypatch.setattr(service, "export_deliveries", lambda *_, **__: None)
    with FakeWeCom(clock=ScaledClock(factor=0)) as wecom:
        wecom.robots["robot-key"] = []
        robot = StaffRobot(
            SecretSource(env="ROBOT"), base_url=wecom.url, clock=wecom.clock, allow_loopback=True
        )
        desk = service.Desk(
            Home(tmp_path),
            Settings(),
            made.ledger,
            {},
            {line().destination: made.destination},
            made.activation,
            robot=robot,
        )
        made.planner.objections = ("Too many.",)
        desk.push(line())
        held = desk.push(line()).run
        assert held is not None
        desk.push(line(), approve=held.run_id)
        desk.push(line())
        wecom.robots.clear()  # a group that is gone: the push does not care
        made.planner.objections = ("Too few.",)
        made.planner.version, made.planner.audience = "v2", {**PEOPLE, "p9": "1"}
        desk.push(line())
        robot.close()
        told = wecom.calls["webhook/send"]
    assert told == 3
    logged = [json.loads(text) for text in (tmp_path / "logs" / "alerts.log").read_text().splitlines()]
    assert [one["kind"] for one in logged] == ["failed", "recovered", "failed"]
