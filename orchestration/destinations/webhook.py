"""Webhooks by the Standard Webhooks rules (standardwebhooks.com): signed POST requests, one per batch.

Body: `{"type": "records", "activation", "audience", "as_of", "run", "records": [{"id", "operation", "key", "fields"}]}`,
where `id` is the record's idempotency key. Answer 2xx means taken; its body may name records that were refused:
`{"rejected": [{"id": …, "code": …}]}`.

webhook-id is the same over all retries of a batch: a receiver that knows it must not act again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from orchestration.destinations.clock import Clock
from orchestration.destinations.errors import (
    BatchRefused,
    ConfigurationError,
    DestinationError,
    OutcomeUnknown,
    PermissionDenied,
    SwitchedOff,
    Throttled,
)
from orchestration.destinations.http import Answer, HttpClient, HttpRules, check_url, retry_after
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Capabilities,
    Finding,
    InDoubt,
    Outcome,
    Rejected,
    RunInfo,
)
from orchestration.destinations.registry import DestinationSettings, Surroundings
from orchestration.destinations.secrets import SecretSource

SECRET_PREFIX = "whsec_"  # noqa: S105
_LONGEST_WAIT = 60.0
_REFUSED = frozenset({400, 409, 413, 422})
_DENIED = frozenset({401, 403, 407})


class WebhookSettings(DestinationSettings):
    """`secrets`, several while keys rotate: the body is signed with each. `allowed_hosts`: default the URL's host."""

    url: str
    secret: SecretSource
    older_secrets: tuple[SecretSource, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    batch_size: int = Field(default=100, ge=1, le=1_000)
    timeout_seconds: float = Field(default=30.0, gt=0)
    tries: int = Field(default=3, ge=1, le=10)
    allow_loopback: bool = False

    @field_validator("allowed_hosts")
    @classmethod
    def _lower(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host.lower() for host in hosts)


class Webhook:
    """Destination of kind `webhook`."""

    Settings = WebhookSettings

    def __init__(self, name: str, settings: WebhookSettings, surroundings: Surroundings) -> None:
        self.name = name
        self._settings = settings
        self._clock = surroundings.clock
        self.capabilities = Capabilities(
            idempotent=True, removes=True, reconciles=False, batch_size=settings.batch_size
        )

    def check(self) -> None:
        """See that the URL may be called and the secrets can sign; sends nothing. Raises ConfigurationError."""
        check_url(self._settings.url, self._rules())
        self._keys()

    def open(self, run: RunInfo) -> WebhookSession:
        """Begin. Raises ConfigurationError."""
        self.check()
        return WebhookSession(self._settings, self._rules(), self._keys(), self._clock, run)

    def _rules(self) -> HttpRules:
        own = self._settings
        try:
            host = (urlsplit(own.url).hostname or "").lower()
        except ValueError:
            host = ""
        return HttpRules(
            allowed_hosts=frozenset(own.allowed_hosts or {host}),
            allow_loopback=own.allow_loopback,
            read_timeout=own.timeout_seconds,
        )

    def _keys(self) -> list[bytes]:
        return [signing_key(own.read()) for own in (self._settings.secret, *self._settings.older_secrets)]


class WebhookSession:
    """One attempt at a run."""

    def __init__(
        self, settings: WebhookSettings, rules: HttpRules, keys: Sequence[bytes], clock: Clock, run: RunInfo
    ) -> None:
        self._settings = settings
        self._http = HttpClient(rules)
        self._keys = keys
        self._clock = clock
        self._run = run

    def send(self, batch: Batch) -> Sequence[Outcome]:
        """POST the batch; answers that ask for patience are tried again under the same webhook-id.

        Raises BatchRefused (4xx of the body), ConfigurationError (3xx, 404), PermissionDenied, SwitchedOff (410),
        Throttled (429), OutcomeUnknown (5xx, timeout), NotSent.
        """
        if not batch.records:
            return []
        body = self._body(batch)
        for left in range(self._settings.tries - 1, -1, -1):
            answer = self._post(batch, body)
            if answer.status not in {502, 504} or not left:
                break
            asked = retry_after(answer.headers, self._clock.now())
            self._clock.sleep(min(_LONGEST_WAIT, 1.0 if asked is None else asked))
        if 200 <= answer.status < 300:
            return _outcomes(batch, answer)
        raise self._failure(answer)

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        """Not needed: the same webhook-id again has no further effect."""
        return [InDoubt("replay_instead") for _ in batch.records]

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def _body(self, batch: Batch) -> bytes:
        run = self._run
        told = {
            "type": "records",
            "activation": run.activation,
            "audience": run.audience,
            "as_of": run.as_of.isoformat(),
            "run": run.run_id,
            "key_type": run.key_type,
            "records": [
                {
                    "id": own.idempotency_key,
                    "operation": own.operation,
                    "key": own.key,
                    "fields": dict(own.fields),
                }
                for own in batch.records
            ],
        }
        return json.dumps(told, ensure_ascii=True, separators=(",", ":")).encode()

    def _post(self, batch: Batch, body: bytes) -> Answer:
        webhook_id = f"msg_{batch.idempotency_key}"
        timestamp = int(self._clock.now().timestamp())
        return self._http.request(
            "POST",
            self._settings.url,
            headers={
                "Content-Type": "application/json",
                "webhook-id": webhook_id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": " ".join(
                    signature(key, webhook_id, timestamp, body) for key in self._keys
                ),
            },
            body=body,
        )

    def _failure(self, answer: Answer) -> DestinationError:
        status = answer.status
        code = f"http_{status}"
        if status == 410:
            return SwitchedOff(
                code,
                "The receiver has switched this webhook off: ask there, correct the URL or take the line out.",
            )
        if status == 429:
            return Throttled(code, retry_after(answer.headers, self._clock.now()))
        if status in _REFUSED:
            return BatchRefused(code)
        if status in _DENIED:
            return PermissionDenied(code, "The receiver refuses the signature or this sender.")
        if 300 <= status < 400:
            return ConfigurationError(code, "The receiver redirects; a webhook's URL must be the final one.")
        if status in {408, 425} or status >= 500:
            return OutcomeUnknown(code)
        return ConfigurationError(code, "The receiver has no webhook at this URL.")


def signing_key(secret: str) -> bytes:
    """The key behind `whsec_`, base64. Raises ConfigurationError."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) < 16:
        raise ConfigurationError(
            "secret_unreadable", "A webhook's secret is whsec_ and at least 16 bytes in base64."
        )
    return key


def signature(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _outcomes(batch: Batch, answer: Answer) -> list[Outcome]:
    """Accepted, but for the records that the answer names."""
    told: Any = None
    try:
        told = json.loads(answer.body) if answer.body.strip() else None
    except ValueError:
        told = None
    named = told.get("rejected") if isinstance(told, dict) else None
    refused: dict[str, str] = {}
    for entry in named if isinstance(named, list) else []:
        if isinstance(entry, dict):
            refused[str(entry.get("id"))] = str(entry.get("code") or "rejected")
    return [
        Rejected(refused[own.idempotency_key]) if own.idempotency_key in refused else Accepted()
        for own in batch.records
    ]
