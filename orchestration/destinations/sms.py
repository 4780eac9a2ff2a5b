"""Text messages through Aliyun (dysmsapi.aliyuncs.com, version 2017-05-25).

The record's key is the phone number, its fields are the template's parameters. SendBatchSms is not idempotent: after a
lost answer nobody knows, so each call carries the batch's idempotency key as OutId, and QuerySendDetails, one phone
and day at a time, tells what became of it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from pydantic import Field

from orchestration.destinations.clock import Clock
from orchestration.destinations.errors import (
    BatchRefused,
    ConfigurationError,
    DestinationError,
    Halted,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
)
from orchestration.destinations.http import Answer, HttpClient, HttpRules, check_url, retry_after
from orchestration.destinations.pacing import Limit, Pacer
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Capabilities,
    Deferred,
    Finding,
    NotReceived,
    Outcome,
    Record,
    Rejected,
    RunInfo,
)
from orchestration.destinations.registry import DestinationSettings, Surroundings
from orchestration.destinations.secrets import SecretSource

VERSION = "2017-05-25"
BATCH = 100
PROVIDER_ZONE = dt.timezone(dt.timedelta(hours=8))
"""Days of QuerySendDetails are those of China."""

_PHONE = re.compile(r"1[3-9][0-9]{9}\Z")
_PAGE = 50
_ROW_LIMITS = frozenset({"isv.BUSINESS_LIMIT_CONTROL"})
_BAD_ROWS = frozenset(
    {
        "isv.MOBILE_NUMBER_ILLEGAL",
        "isv.MOBILE_COUNT_OVER_LIMIT",
        "isv.BLACK_KEY_CONTROL_LIMIT",
        "isv.PARAM_LENGTH_LIMIT",
        "isv.PARAM_NOT_SUPPORT_URL",
        "isv.INVALID_JSON_PARAM",
        "isv.TEMPLATE_PARAMS_ILLEGAL",
    }
)
_HALTS = frozenset(
    {"isv.DAY_LIMIT_CONTROL", "isv.MONTH_LIMIT_CONTROL", "isv.OUT_OF_SERVICE", "isv.AMOUNT_NOT_ENOUGH"}
)
_DENIALS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "Forbidden",
    "isp.RAM_PERMISSION_DENY",
    "InvalidTimeStamp",
)


class SmsSettings(DestinationSettings):
    """`settle_seconds`: after a lost answer, how long the provider may take until its details tell."""

    access_key_id: SecretSource
    access_key_secret: SecretSource
    base_url: str = "https://dysmsapi.aliyuncs.com"
    calls_per_minute: int = Field(default=3_000, ge=1)
    timeout_seconds: float = Field(default=30.0, gt=0)
    settle_seconds: float = Field(default=60.0, ge=0)
    allow_loopback: bool = False


class AliyunSms:
    """Destination of kind `aliyun_sms`. Options of a line: sign_name, template_code, has_opt_out (marketing)."""

    Settings = SmsSettings
    capabilities = Capabilities(idempotent=False, removes=False, reconciles=True, batch_size=BATCH)

    def __init__(self, name: str, settings: SmsSettings, surroundings: Surroundings) -> None:
        self.name = name
        self._settings = settings
        self._clock = surroundings.clock

    def check(self) -> None:
        """Ask for a day without a message: the keys and the address are right. Raises DestinationError."""
        client = SmsClient(self._settings, self._clock)
        try:
            client.call(
                "QuerySendDetails",
                {
                    "PhoneNumber": "13800000000",
                    "SendDate": self._clock.now().astimezone(PROVIDER_ZONE).strftime("%Y%m%d"),
                    "PageSize": "1",
                    "CurrentPage": "1",
                },
            )
        except _Refusal as refusal:
            failure = refusal.as_failure()
        else:
            return
        finally:
            client.close()
        raise failure

    def open(self, run: RunInfo) -> SmsSession:
        """Begin; no call. Raises ConfigurationError."""
        return SmsSession(self._settings, self._clock, run)


class SmsSession:
    """One attempt at a run."""

    def __init__(self, settings: SmsSettings, clock: Clock, run: RunInfo) -> None:
        self._sign = _text_option(run, "sign_name")
        self._template = _text_option(run, "template_code")
        if run.purpose == "marketing" and run.options.get("has_opt_out") is not True:
            raise ConfigurationError(
                "no_opt_out",
                "A marketing text must say how to opt out: put it into the template, then set the option "
                "has_opt_out: true.",
            )
        self._settings = settings
        self._clock = clock
        self._started_at = run.started_at
        self._client = SmsClient(settings, clock)
        self._unknown_since: dict[str, dt.datetime] = {}
        self._opened_at = clock.now()

    def send(self, batch: Batch) -> Sequence[Outcome]:
        """One SendBatchSms. Raises BatchRefused when a row of several is wrong or at its limit, Halted, Throttled, …."""
        good = [own for own in batch.records if _PHONE.match(own.key) and _params(own) is not None]
        if good:
            limit = self._send(batch, good)
            if limit is not None:
                return [limit for _ in batch.records]
        taken = {id(own) for own in good}
        return [Accepted() if id(own) in taken else Rejected(_problem(own)) for own in batch.records]

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        """Ask for each phone whether a text with this batch's OutId was taken; waits until the details can tell.

        Raises DestinationError.
        """
        since = self._unknown_since.get(batch.idempotency_key, self._opened_at)
        waited = (self._clock.now() - since).total_seconds()
        self._clock.sleep(self._settings.settle_seconds - waited)
        failure: DestinationError
        try:
            return [self._find(own, batch.idempotency_key) for own in batch.records]
        except _Refusal as refusal:
            failure = refusal.as_failure()
        raise failure

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _send(self, batch: Batch, good: Sequence[Record]) -> Outcome | None:
        parameters = {
            "PhoneNumberJson": json.dumps([own.key for own in good]),
            "SignNameJson": json.dumps([self._sign] * len(good), ensure_ascii=False),
            "TemplateCode": self._template,
            "TemplateParamJson": json.dumps([_params(own) for own in good], ensure_ascii=False),
            "OutId": batch.idempotency_key,
        }
        code = ""
        try:
            self._client.call("SendBatchSms", parameters, fresh=True)
        except _Refusal as refusal:
            code, failure = refusal.code, refusal.as_failure()
        except OutcomeUnknown:
            self._unknown_since[batch.idempotency_key] = self._clock.now()
            raise
        if not code:
            return None
        if code in _ROW_LIMITS or code in _BAD_ROWS:
            if len(batch.records) > 1:
                raise BatchRefused(code)
            if code in _ROW_LIMITS:
                return Deferred(code, self._clock.now() + dt.timedelta(hours=24))
            return Rejected(code)
        raise failure

    def _find(self, record: Record, out_id: str) -> Finding:
        if not _PHONE.match(record.key):
            return Rejected(_problem(record))
        for detail in self._client.details(record.key, self._days()):
            if detail.out_id == out_id:
                return Rejected("send_failed") if detail.status == "failed" else Accepted()
        return NotReceived()

    def _days(self) -> list[dt.date]:
        """Days on which the call can have been made: from the start of the run to now, the latest first."""
        first = self._started_at.astimezone(PROVIDER_ZONE).date()
        last = self._clock.now().astimezone(PROVIDER_ZONE).date()
        count = min((last - first).days, 30) + 1
        return [last - dt.timedelta(days=back) for back in range(max(count, 1))]


DetailStatus = Literal["waiting", "failed", "delivered"]
_STATUS: Mapping[int, DetailStatus] = {1: "waiting", 2: "failed", 3: "delivered"}


@dataclass(frozen=True, repr=False)
class SmsDetail:
    """What became of one text. `out_id` is the idempotency key of its batch; `sent_at` is aware."""

    out_id: str
    status: DetailStatus
    sent_at: dt.datetime | None


class SmsClient:
    """Signed calls."""

    def __init__(self, settings: SmsSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        host = (urlsplit(settings.base_url).hostname or "").lower()
        self._rules = HttpRules(
            frozenset({host}), allow_loopback=settings.allow_loopback, read_timeout=settings.timeout_seconds
        )
        self._http = HttpClient(self._rules)
        self._pacer = Pacer([Limit(settings.calls_per_minute, 60)], clock)

    def call(self, action: str, parameters: Mapping[str, str], *, fresh: bool = False) -> dict[str, Any]:
        """One call. Raises _Refusal with the provider's code, Throttled, OutcomeUnknown, NotSent, ConfigurationError."""
        check_url(self._settings.base_url, self._rules)
        self._pacer.acquire()
        body = urlencode(parameters, quote_via=quote).encode()
        parts = urlsplit(self._settings.base_url)
        headers = signed_headers(
            action=action,
            host=parts.netloc,
            body=body,
            moment=self._clock.now(),
            nonce=secrets.token_hex(16),
            key_id=self._settings.access_key_id.read(),
            key_secret=self._settings.access_key_secret.read(),
        )
        url = self._settings.base_url.rstrip("/") + "/"
        return self._judged(self._http.request("POST", url, headers=headers, body=body, fresh=fresh))

    def details(self, phone: str, days: Sequence[dt.date]) -> Iterator[SmsDetail]:
        """Texts to a phone on these days. Raises as `call`."""
        for day in days:
            page = 1
            while True:
                answer = self.call(
                    "QuerySendDetails",
                    {
                        "PhoneNumber": phone,
                        "SendDate": day.strftime("%Y%m%d"),
                        "PageSize": str(_PAGE),
                        "CurrentPage": str(page),
                    },
                )
                listed = (answer.get("SmsSendDetailDTOs") or {}).get("SmsSendDetailDTO") or []
                for own in listed:
                    yield _detail(own)
                if len(listed) < _PAGE:
                    break
                page += 1

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def _judged(self, answer: Answer) -> dict[str, Any]:
        told: Any = None
        try:
            told = json.loads(answer.body)
        except ValueError:
            told = None
        if not isinstance(told, dict) or not isinstance(told.get("Code"), str):
            if 300 <= answer.status < 500:
                raise ConfigurationError(
                    f"http_{answer.status}", "This is not the provider's API: see base_url."
                )
            raise OutcomeUnknown("unreadable_answer" if answer.status == 200 else f"http_{answer.status}")
        if told["Code"] == "OK" and answer.status == 200:
            return told
        if answer.status >= 500:
            raise OutcomeUnknown(f"http_{answer.status}")
        if answer.status == 429 or told["Code"].startswith("Throttling"):
            raise Throttled(told["Code"], retry_after(answer.headers, self._clock.now()))
        raise _Refusal(told["Code"])


class _Refusal(Exception):
    """The provider's code for a call of which nothing was taken."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__()

    def as_failure(self) -> DestinationError:
        if self.code in _HALTS:
            return Halted(
                self.code, "The provider sends nothing more for now: its limit or the account's balance."
            )
        if self.code.startswith(_DENIALS):
            return PermissionDenied(
                self.code, "The provider refuses the access key, or this machine's clock is wrong."
            )
        return ConfigurationError(self.code, "The provider refuses signature, template or parameters.")


def signed_headers(
    *, action: str, host: str, body: bytes, moment: dt.datetime, nonce: str, key_id: str, key_secret: str
) -> dict[str, str]:
    """Headers of a POST to `/` signed by ACS3-HMAC-SHA256 (Aliyun, request syntax and signature method V3)."""
    hashed = hashlib.sha256(body).hexdigest()
    signed = {
        "content-type": "application/x-www-form-urlencoded",
        "host": host,
        "x-acs-action": action,
        "x-acs-content-sha256": hashed,
        "x-acs-date": moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": nonce,
        "x-acs-version": VERSION,
    }
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashed}"
    text = "ACS3-HMAC-SHA256\n" + hashlib.sha256(canonical.encode()).hexdigest()
    made = hmac.new(key_secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    authorization = f"ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={names},Signature={made}"
    return {**signed, "Authorization": authorization}


def _detail(own: Mapping[str, Any]) -> SmsDetail:
    sent_at: dt.datetime | None = None
    try:
        shown = dt.datetime.strptime(str(own.get("SendDate")), "%Y-%m-%d %H:%M:%S")
        sent_at = shown.replace(tzinfo=PROVIDER_ZONE)
    except ValueError:
        sent_at = None
    status = _STATUS.get(int(own.get("SendStatus") or 1), "waiting")
    return SmsDetail(str(own.get("OutId") or ""), status, sent_at)


def _params(record: Record) -> dict[str, str] | None:
    """The template's parameters; None when one is no text."""
    params: dict[str, str] = {}
    for name, value in record.fields.items():
        if value is None or isinstance(value, list | dict | bool):
            return None
        params[name] = str(value)
    return params


def _problem(record: Record) -> str:
    return "parameter_not_text" if _PHONE.match(record.key) else "phone_unfit"


def _text_option(run: RunInfo, name: str) -> str:
    value = run.options.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigurationError("option_missing", f"An SMS line needs the option {name}, a text.")
    return value
