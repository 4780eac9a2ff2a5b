"""An SMS provider in Aliyun's dialect (dysmsapi, version 2017-05-25): signature, batches, limits, details."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote

from orchestration.destinations.clock import Clock, SystemClock
from tests.fakes.server import FakeServer, Reply, Request

_AUTHORIZATION = re.compile(
    r"ACS3-HMAC-SHA256 Credential=(?P<id>[^,]+),SignedHeaders=(?P<headers>[^,]+),Signature=(?P<signature>[0-9a-f]{64})"
)


class Refused(Exception):
    def __init__(self, code: str, status: int = 200) -> None:
        self.code, self.status = code, status


@dataclass
class Text:
    phone: str
    out_id: str
    biz_id: str
    content: str
    sent_at: dt.datetime
    status: int = 1


class FakeSms(FakeServer):
    KEY_ID, KEY_SECRET = "access-key-id-0123", "access-key-secret-0123456789"
    SIGN, TEMPLATE = "精细", "SMS_100001"

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.texts: list[Text] = []
        self.by_phone: dict[str, list[Text]] = defaultdict(list)
        self.per_phone_a_day = 10
        self.day_limit: int | None = None
        self.out_of_service = False
        self.nonces: set[str] = set()
        self.signs = {self.SIGN}
        self.templates: dict[str, set[str]] = {self.TEMPLATE: {"city"}}
        super().__init__()

    @property
    def sent(self) -> Counter[str]:
        """Texts by phone: what the receivers see."""
        return Counter(own.phone for own in self.texts)

    def settle(self, status: int = 3) -> None:
        """The operator reports: 3 delivered, 2 failed."""
        for own in self.texts:
            own.status = status

    def api(self, request: Request) -> str:
        return request.headers.get("x-acs-action", "")

    def answer(self, request: Request) -> Reply:
        told: dict[str, Any]
        status = 200
        try:
            with self.lock:
                self._verify(request)
                parameters = {
                    **request.query,
                    **dict(parse_qsl(request.body.decode(), keep_blank_values=True)),
                }
                acts = {"SendBatchSms": self._send, "QuerySendDetails": self._details}
                act = acts.get(self.api(request), self._no_such_action)
                told = {"Code": "OK", "Message": "OK", **act(parameters)}
        except Refused as error:
            status = error.status
            told = {"Code": error.code, "Message": f"refused: {request.body[:80]!r}"}
        told["RequestId"] = secrets.token_hex(16).upper()
        return Reply(status, json.dumps(told).encode())

    def _no_such_action(self, parameters: dict[str, str]) -> dict[str, Any]:
        raise Refused("InvalidAction.NotFound", 404)

    def _verify(self, request: Request) -> None:
        headers = request.headers
        found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if found is None or found["id"] != self.KEY_ID:
            raise Refused("InvalidAccessKeyId.NotFound", 404)
        hashed = hashlib.sha256(request.body).hexdigest()
        if headers.get("x-acs-content-sha256") != hashed or headers.get("x-acs-version") != "2017-05-25":
            raise Refused("SignatureDoesNotMatch", 400)
        stamp = dt.datetime.strptime(headers.get("x-acs-date", ""), "%Y-%m-%dT%H:%M:%SZ").replace(
            tzinfo=dt.UTC
        )
        if abs((self.clock.now() - stamp).total_seconds()) > 900:
            raise Refused("InvalidTimeStamp.Expired", 400)
        names = found["headers"].split(";")
        must = {
            "host",
            "x-acs-action",
            "x-acs-content-sha256",
            "x-acs-date",
            "x-acs-signature-nonce",
            "x-acs-version",
        }
        if names != sorted(names) or not must <= set(names):
            raise Refused("SignatureDoesNotMatch", 400)
        query = "&".join(
            f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}"
            for key, value in sorted(request.query.items())
        )
        canonical = "\n".join(
            [
                request.method,
                request.path,
                query,
                "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in names),
                ";".join(names),
                hashed,
            ]
        )
        text = "ACS3-HMAC-SHA256\n" + hashlib.sha256(canonical.encode()).hexdigest()
        right = hmac.new(self.KEY_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right, found["signature"]):
            raise Refused("SignatureDoesNotMatch", 400)
        nonce = headers["x-acs-signature-nonce"]
        if nonce in self.nonces:
            raise Refused("SignatureNonceUsed", 400)
        self.nonces.add(nonce)

    def _send(self, parameters: dict[str, str]) -> dict[str, Any]:
        try:
            phones = json.loads(parameters["PhoneNumberJson"])
            signs = json.loads(parameters["SignNameJson"])
            contents = json.loads(parameters.get("TemplateParamJson") or "null") or [{}] * len(phones)
        except (KeyError, ValueError):
            raise Refused("isv.INVALID_JSON_PARAM") from None
        if not 1 <= len(phones) <= 100 or len(signs) != len(phones) or len(contents) != len(phones):
            raise Refused("isv.PARAM_LENGTH_LIMIT" if len(phones) > 100 else "isv.INVALID_PARAMETERS")
        if not set(signs) <= self.signs:
            raise Refused("isv.SMS_SIGNATURE_ILLEGAL")
        needed = self.templates.get(parameters.get("TemplateCode", ""))
        if needed is None:
            raise Refused("isv.SMS_TEMPLATE_ILLEGAL")
        if any(not needed <= set(own) for own in contents):
            raise Refused("isv.TEMPLATE_MISSING_PARAMETERS")
        out_id = parameters.get("OutId", "")
        if len(out_id) >= 256:
            raise Refused("isv.INVALID_PARAMETERS")
        if self.out_of_service:
            raise Refused("isv.OUT_OF_SERVICE")
        if any(not re.fullmatch(r"1[3-9][0-9]{9}", own) for own in phones):
            raise Refused("isv.MOBILE_NUMBER_ILLEGAL")
        today = self.clock.now().date()
        if self.day_limit is not None and len(self.texts) + len(phones) > self.day_limit:
            raise Refused("isv.DAY_LIMIT_CONTROL")
        for own in phones:
            if sum(text.sent_at.date() == today for text in self.by_phone[own]) >= self.per_phone_a_day:
                raise Refused("isv.BUSINESS_LIMIT_CONTROL")
        biz_id = secrets.token_hex(10)
        for phone, content in zip(phones, contents, strict=True):
            text = Text(phone, out_id, biz_id, json.dumps(content), self.clock.now())
            self.texts.append(text)
            self.by_phone[phone].append(text)
        return {"BizId": biz_id}

    def _details(self, parameters: dict[str, str]) -> dict[str, Any]:
        try:
            day = dt.datetime.strptime(parameters["SendDate"], "%Y%m%d").date()
            size, page = int(parameters["PageSize"]), int(parameters["CurrentPage"])
            phone = parameters["PhoneNumber"]
        except (KeyError, ValueError):
            raise Refused("isv.INVALID_PARAMETERS") from None
        if not 1 <= size <= 50 or page < 1:
            raise Refused("isv.INVALID_PARAMETERS")
        zone = dt.timezone(dt.timedelta(hours=8))
        found = [
            own
            for own in self.by_phone[phone]
            if own.sent_at.astimezone(zone).date() == day
            and parameters.get("BizId", own.biz_id) == own.biz_id
        ]
        listed = [
            {
                "PhoneNum": own.phone,
                "OutId": own.out_id,
                "SendStatus": own.status,
                "SendDate": own.sent_at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
                "TemplateCode": self.TEMPLATE,
                "Content": own.content,
                **({"ErrCode": "DELIVERED"} if own.status == 3 else {}),
            }
            for own in found[(page - 1) * size : page * size]
        ]
        return {"TotalCount": str(len(found)), "SmsSendDetailDTOs": {"SmsSendDetailDTO": listed}}
