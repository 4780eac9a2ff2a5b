"""A webhook receiver that follows the Standard Webhooks rules: verifies, then acts once per webhook-id."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections import Counter
from typing import Any

from tests.fakes.server import FakeServer, Reply, Request


class FakeReceiver(FakeServer):
    SECRET = "whsec_" + base64.b64encode(b"0123456789abcdefghijklmn").decode()

    def __init__(self) -> None:
        self.secrets = [self.SECRET]
        self.seen: set[str] = set()
        self.applied: Counter[str] = Counter()
        self.state: dict[str, Any] = {}
        self.ids: list[str] = []
        self.reject_keys: dict[str, str] = {}
        self.refuse_batches_with: str | None = None
        self.check_time = True
        super().__init__()

    def answer(self, request: Request) -> Reply:
        if not self._is_signed(request):
            return Reply(401, b"{}")
        told = request.json()
        if any(own["key"] == self.refuse_batches_with for own in told["records"]):
            return Reply(422, b'{"message": "one of them is wrong"}')
        rejected = [
            {"id": own["id"], "code": self.reject_keys[own["key"]]}
            for own in told["records"]
            if own["key"] in self.reject_keys
        ]
        with self.lock:
            webhook_id = request.headers["webhook-id"]
            self.ids.append(webhook_id)
            if webhook_id not in self.seen:
                self.seen.add(webhook_id)
                for own in told["records"]:
                    if own["key"] in self.reject_keys:
                        continue
                    self.applied[own["key"]] += 1
                    if own["operation"] == "remove":
                        self.state.pop(own["key"], None)
                    else:
                        self.state[own["key"]] = own["fields"]
        return Reply(200, json.dumps({"rejected": rejected}).encode())

    def _is_signed(self, request: Request) -> bool:
        headers = request.headers
        stamp = headers.get("webhook-timestamp", "")
        if self.check_time and (not stamp.isdigit() or abs(time.time() - int(stamp)) > 300):
            return False
        text = f"{headers.get('webhook-id', '')}.{stamp}.".encode() + request.body
        for secret in self.secrets:
            key = base64.b64decode(secret.removeprefix("whsec_"))
            right = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
            if right in headers.get("webhook-signature", "").split(" "):
                return True
        return False
