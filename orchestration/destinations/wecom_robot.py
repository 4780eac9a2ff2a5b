"""Alerts to staff through a WeCom group robot: at most 20 a minute, markdown of at most 4096 bytes.

An alert is made of names, codes and counts only. There is no way to put a text of a record into one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode, urlsplit

from orchestration.destinations.clock import Clock, SystemClock
from orchestration.destinations.errors import (
    ConfigurationError,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    safe_code,
)
from orchestration.destinations.http import HttpClient, HttpRules
from orchestration.destinations.pacing import Limit, Pacer
from orchestration.destinations.secrets import SecretSource

MARKDOWN_BYTES = 4_096
ALERTS_A_MINUTE = 20
_NAME = re.compile(r"[a-z0-9_-]{1,64}\Z")
_COUNT_NAME = re.compile(r"[a-z][a-z_]{0,31}\Z")
_TITLES = {"failed": "失败 failed", "recovered": "恢复 recovered", "held": "待审批 held"}
_COLOURS = {"failed": "warning", "recovered": "info", "held": "comment"}


@dataclass(frozen=True)
class Alert:
    """What happened to an activation. `code` as in the ledger; `counts` by state (accepted, rejected, held, …)."""

    activation: str
    state: Literal["failed", "recovered", "held"]
    run_id: str
    code: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    def markdown(self) -> str:
        """The text, cut to what a robot takes. Raises ValueError for a name that cannot be one."""
        if not _NAME.match(self.activation) or not _NAME.match(self.run_id):
            raise ValueError("an alert names an activation and a run")
        lines = [
            f'## <font color="{_COLOURS[self.state]}">{_TITLES[self.state]}</font> {self.activation}',
            f"> run {self.run_id}",
        ]
        if self.code:
            lines.append(f"> code `{safe_code(self.code)}`")
        for name, count in self.counts.items():
            if not _COUNT_NAME.match(name):
                raise ValueError("an alert counts by the names of states")
            lines.append(f"> {name} {int(count)}")
        return "\n".join(lines).encode()[:MARKDOWN_BYTES].decode(errors="ignore")


class StaffRobot:
    """A group robot. `key` is the secret part of its address."""

    def __init__(
        self,
        key: SecretSource,
        *,
        base_url: str = "https://qyapi.weixin.qq.com",
        clock: Clock | None = None,
        allow_loopback: bool = False,
    ) -> None:
        self._key = key
        self._base_url = base_url.rstrip("/")
        host = (urlsplit(base_url).hostname or "").lower()
        self._http = HttpClient(HttpRules(frozenset({host}), allow_loopback=allow_loopback))
        self._pacer = Pacer([Limit(ALERTS_A_MINUTE, 60)], clock or SystemClock())

    def tell(self, alert: Alert) -> None:
        """Send an alert; waits for its turn. Raises DestinationError: an alert that fails must not fail the run."""
        body = {"msgtype": "markdown", "markdown": {"content": alert.markdown()}}
        query = urlencode({"key": self._key.read()})
        self._pacer.acquire()
        answer = self._http.request(
            "POST",
            f"{self._base_url}/cgi-bin/webhook/send?{query}",
            headers={"Content-Type": "application/json"},
            body=json.dumps(body, ensure_ascii=False).encode(),
        )
        try:
            errcode = json.loads(answer.body)["errcode"] if answer.status == 200 else None
        except (ValueError, KeyError, TypeError):
            errcode = None
        if errcode == 0:
            return
        if type(errcode) is not int:
            raise OutcomeUnknown(f"http_{answer.status}")
        if errcode == 45009:
            raise Throttled("errcode_45009", 60.0)
        if errcode == 93000:
            raise PermissionDenied("errcode_93000", "WeCom does not know the robot's key.")
        raise ConfigurationError(f"errcode_{errcode}", "WeCom refuses the alert.")

    def close(self) -> None:
        """Close connections."""
        self._http.close()
