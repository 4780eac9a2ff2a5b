"""A destination of about 60 lines, as somebody outside of the project writes one: a CRM with a small HTTP API.

In destinations.yml its kind is `module:Class` (here `tests.contracts.example:Crm`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from orchestration.destinations.errors import BatchRefused, OutcomeUnknown, PermissionDenied
from orchestration.destinations.http import Answer, HttpClient, HttpRules
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Capabilities,
    Finding,
    InDoubt,
    Outcome,
    RunInfo,
)
from orchestration.destinations.registry import DestinationSettings, Surroundings
from orchestration.destinations.secrets import SecretSource


class CrmSettings(DestinationSettings):
    url: str
    token: SecretSource
    allow_loopback: bool = False


class Crm:
    Settings = CrmSettings
    capabilities = Capabilities(idempotent=True, removes=False, reconciles=False, batch_size=50)

    def __init__(self, name: str, settings: CrmSettings, surroundings: Surroundings) -> None:
        self.name = name
        self.settings = settings

    def check(self) -> None:
        self.settings.token.read()

    def open(self, run: RunInfo) -> CrmSession:
        return CrmSession(self.settings)


class CrmSession:
    def __init__(self, settings: CrmSettings) -> None:
        host = urlsplit(settings.url).hostname or ""
        self.http = HttpClient(HttpRules(frozenset({host}), settings.allow_loopback, read_timeout=0.3))
        self.url, self.token = settings.url, settings.token.read()

    def send(self, batch: Batch) -> Sequence[Outcome]:
        if not batch.records:
            return []
        people: list[dict[str, object]] = [{"id": own.key, **own.fields} for own in batch.records]
        return self.judge(self.put(people), batch)

    def put(self, people: list[dict[str, object]]) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.http.request("POST", self.url, headers=headers, body=json.dumps(people).encode())

    def judge(self, answer: Answer, batch: Batch) -> Sequence[Outcome]:
        if answer.status == 200:
            return [Accepted() for _ in batch.records]
        if answer.status == 401:
            raise PermissionDenied("http_401", "The CRM refuses the token.")
        if answer.status == 422:
            raise BatchRefused("http_422")
        raise OutcomeUnknown(f"http_{answer.status}")

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        return [InDoubt("replay_instead") for _ in batch.records]

    def finish(self) -> None:
        pass

    def close(self) -> None:
        self.http.close()
