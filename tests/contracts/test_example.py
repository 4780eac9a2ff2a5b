"""The example passes the contract, and each mistake one can make in it is told in words."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestration.destinations.errors import DestinationError, OutcomeUnknown
from orchestration.destinations.protocol import Accepted, Batch, Capabilities, Outcome, Record, RunInfo
from orchestration.destinations.registry import Surroundings, build
from tests.contracts import example
from tests.contracts.contract import CHECKS, Harness, NotApplicable
from tests.contracts.harnesses import ServerHarness
from tests.fakes.server import FakeServer, Reply, Request
from tests.unit.destination_support import record

TOKEN = "crm-token-0123456789"


class FakeCrm(FakeServer):
    """Upserts people by id; an empty list means everybody, as in APIs that one meets."""

    def __init__(self) -> None:
        self.people: dict[str, Any] = {}
        self.effects: Counter[str] = Counter()
        self.token = TOKEN
        super().__init__()

    def answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(401, b"")
        people = request.json()
        if any(own["id"] == "bad" for own in people):
            return Reply(422, b"")
        with self.lock:
            for own in people or [{"id": "everybody"}]:
                if self.people.get(own["id"]) != own:
                    self.effects[own["id"]] += 1
                self.people[own["id"]] = own
        return Reply(200, json.dumps({"ok": True}).encode())


class CrmHarness(ServerHarness):
    secrets = (TOKEN,)

    def __init__(self, home: Path, crm: type = example.Crm) -> None:
        self.server: FakeCrm = FakeCrm()
        os.environ["CRM_TOKEN"] = TOKEN
        declared = {"url": self.server.url, "token": {"env": "CRM_TOKEN"}, "allow_loopback": True}
        if crm is example.Crm:
            declared["kind"] = "tests.contracts.example:Crm"
            self.destination = build("crm", declared, Surroundings(home))
        else:
            self.destination = crm("crm", example.CrmSettings.model_validate(declared), Surroundings(home))

    def received(self) -> Mapping[str, Any]:
        return self.server.people

    def effects(self) -> Counter[str]:
        return self.server.effects

    def bad_record(self) -> Record:
        return record("bad", {"city": "x"})

    def deny(self) -> None:
        self.server.token = "another"

    def peace(self) -> None:
        super().peace()
        self.server.token = TOKEN


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    yield
    os.environ.pop("CRM_TOKEN", None)


def run(name: str, harness: Harness) -> None:
    try:
        CHECKS[name](harness)
    finally:
        harness.close()


@pytest.mark.parametrize("name", CHECKS)
def test_the_example_passes(name: str, tmp_path: Path) -> None:
    try:
        run(name, CrmHarness(tmp_path))
    except NotApplicable:
        pytest.skip("the destination does not claim what this check is about")


def test_the_example_has_about_sixty_lines() -> None:
    lines = Path(example.__file__).read_text().splitlines()
    assert len([own for own in lines if own.strip()]) <= 65


class Session(example.CrmSession):
    """The example's, to make mistakes in."""


class SendsEmptyLists(Session):
    def send(self, batch: Batch) -> Sequence[Outcome]:
        return self.judge(self.put([{"id": own.key, **own.fields} for own in batch.records]), batch)


class ForgetsTheLast(Session):
    def send(self, batch: Batch) -> Sequence[Outcome]:
        return super().send(batch)[:-1]


class DropsOne(Session):
    def send(self, batch: Batch) -> Sequence[Outcome]:
        super().send(Batch(batch.records[1:], batch.idempotency_key))
        return [Accepted() for _ in batch.records]


class TakesSilenceForYes(Session):
    def send(self, batch: Batch) -> Sequence[Outcome]:
        try:
            return super().send(batch)
        except DestinationError:
            return [Accepted() for _ in batch.records]


class CountsAgain(Session):
    numbers = iter(range(10_000))

    def put(self, people: list[dict[str, object]]) -> Any:
        return super().put([{**own, "sent": next(self.numbers)} for own in people])


class RefusesAllForOne(Session):
    def judge(self, answer: Any, batch: Batch) -> Sequence[Outcome]:
        from orchestration.destinations.protocol import Rejected

        return (
            [Rejected("bad")] * len(batch.records) if answer.status == 422 else super().judge(answer, batch)
        )


class TellsTheKey(Session):
    def judge(self, answer: Any, batch: Batch) -> Sequence[Outcome]:
        if answer.status != 200:
            raise OutcomeUnknown("failed", f"while sending {batch.records[0].key}")
        return super().judge(answer, batch)


class LogsTheToken(Session):
    def put(self, people: list[dict[str, object]]) -> Any:
        import logging

        logging.getLogger("crm").info("calling with %s", self.token)
        return super().put(people)


class LeavesConnectionsOpen(Session):
    kept: list[Any] = []  # noqa: RUF012

    def close(self) -> None:
        self.kept.append(self.http)


class GoesOnWithoutAToken(Session):
    def judge(self, answer: Any, batch: Batch) -> Sequence[Outcome]:
        if answer.status == 401:
            raise OutcomeUnknown("http_401")
        return super().judge(answer, batch)


class HasNoWayBack:
    capabilities = Capabilities(idempotent=False, removes=False, reconciles=False, batch_size=50)


class ChecksBySending:
    def check(self) -> None:
        session = self.open(None)  # type: ignore[attr-defined]
        session.put([{"id": "test"}])
        session.close()


class SeenBeforeTheEnd:
    capabilities = Capabilities(idempotent=True, removes=False, reconciles=False, batch_size=50, whole=True)


MISTAKES = [
    (SendsEmptyLists, "an_empty_batch_makes_no_call", "an empty batch must make no call"),
    (ForgetsTheLast, "every_record_is_there_once", "7 records need as many outcomes, not 6"),
    (DropsOne, "every_record_is_there_once", "every accepted record must be at the destination"),
    (TakesSilenceForYes, "a_lost_call_is_neither_accepted_nor_lost", "nobody knows what happened"),
    (TakesSilenceForYes, "an_unreachable_destination_accepts_nothing", "nothing can be reached, yet"),
    (CountsAgain, "a_replay_has_no_further_effect", "a replay must leave the destination as it was"),
    (
        RefusesAllForOne,
        "outcomes_stand_in_the_order_of_the_records",
        "exactly the bad record must be Rejected",
    ),
    (TellsTheKey, "nothing_personal_or_secret_is_shown", "a representation or an error shows '13812345678'"),
    (LogsTheToken, "nothing_personal_or_secret_is_shown", "a log line shows 'crm-token-0123456789'"),
    (LeavesConnectionsOpen, "closing_frees_everything", "files or connections open after three sessions"),
    (
        GoesOnWithoutAToken,
        "a_destination_that_does_not_let_us_in_fails_the_run",
        "must raise PermissionDenied",
    ),
    (
        HasNoWayBack,
        "capabilities_are_constant_and_checking_changes_nothing",
        "leaves every timeout to a person",
    ),
    (
        ChecksBySending,
        "capabilities_are_constant_and_checking_changes_nothing",
        "check() must change nothing",
    ),
    (SeenBeforeTheEnd, "nothing_is_visible_before_finish", "records are visible before finish()"),
]


@pytest.mark.parametrize(("mistake", "name", "message"), MISTAKES, ids=[own[0].__name__ for own in MISTAKES])
def test_a_mistake_is_told(mistake: type, name: str, message: str, tmp_path: Path) -> None:
    if issubclass(mistake, Session):

        class Wrong(example.Crm):
            def open(self, run: RunInfo) -> Any:
                return mistake(self.settings)

    else:

        class Wrong(mistake, example.Crm):  # type: ignore[no-redef,misc]
            pass

    with pytest.raises(AssertionError) as told:
        run(name, CrmHarness(tmp_path, Wrong))
    assert message in str(told.value)
