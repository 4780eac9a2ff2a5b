"""Alerts to staff: paced, short, without anything of a record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestration.destinations.errors import OutcomeUnknown, PermissionDenied
from orchestration.destinations.secrets import SecretSource
from orchestration.destinations.wecom_robot import MARKDOWN_BYTES, Alert, StaffRobot
from tests.fakes.server import SERVER_ERROR, ScaledClock
from tests.fakes.wecom import FakeWeCom

KEY = "robot-key-0123456789"
RUN = "01k0000000000000000000run1"


@pytest.fixture
def wecom(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWeCom]:
    monkeypatch.setenv("ROBOT_KEY", KEY)
    with FakeWeCom(clock=ScaledClock(factor=0)) as server:
        server.robots[KEY] = []
        yield server


@pytest.fixture
def robot(wecom: FakeWeCom) -> Iterator[StaffRobot]:
    own = StaffRobot(
        SecretSource(env="ROBOT_KEY"), base_url=wecom.url, clock=wecom.clock, allow_loopback=True
    )
    yield own
    own.close()


def test_sixty_alerts_keep_to_twenty_a_minute(wecom: FakeWeCom, robot: StaffRobot) -> None:
    start = wecom.clock.monotonic()
    for number in range(60):
        robot.tell(Alert("vip_to_crm", "failed", RUN, "errcode_60020", {"accepted": number, "held": 3}))
    assert len(wecom.robots[KEY]) == 60
    assert wecom.calls["webhook/send"] == 60, "no alert was refused for its pace"
    assert wecom.clock.monotonic() - start <= 3 * 60 * 1.1
    content = wecom.robots[KEY][-1]["markdown"]["content"]
    assert "vip_to_crm" in content
    assert "accepted 59" in content


@pytest.mark.parametrize(
    "facts",
    [
        {"activation": "王小明 13800000000"},
        {"run_id": "https://x/?token=1"},
        {"counts": {"13800000000": 1}},
    ],
)
def test_no_other_text_fits_into_an_alert(facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="an alert"):
        Alert(**{"activation": "vip", "state": "failed", "run_id": RUN, **facts}).markdown()


def test_a_code_that_is_none_is_not_shown() -> None:
    assert "13800000000" not in Alert("vip", "failed", RUN, "refused 13800000000").markdown()


def test_long_alerts_are_cut_to_what_a_robot_takes() -> None:
    counts = {"a" + "b" * (n // 26) + chr(97 + n % 26): n for n in range(600)}
    assert len(Alert("vip", "failed", RUN, "", counts).markdown().encode()) <= MARKDOWN_BYTES


def test_failures_tell_neither_key_nor_text(
    wecom: FakeWeCom, robot: StaffRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    wecom.faults.script("webhook/send", [SERVER_ERROR])
    with pytest.raises(OutcomeUnknown) as told:
        robot.tell(Alert("vip", "recovered", RUN))
    assert KEY not in str(told.value)
    monkeypatch.setenv("ROBOT_KEY", "another-key")
    with pytest.raises(PermissionDenied) as refused:
        robot.tell(Alert("vip", "recovered", RUN))
    assert "another-key" not in str(refused.value)
