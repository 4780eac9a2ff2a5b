"""Calls to WeCom's customer contact API: tokens, pacing, and what each `errcode` means.

HTTP is 200 even on errors, so success is `errcode` 0; the message is never read. Tokens and keys travel in the URL,
which therefore appears nowhere.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from pydantic import Field

from orchestration.destinations.clock import Clock
from orchestration.destinations.errors import (
    ConfigurationError,
    DestinationError,
    Halted,
    NotSent,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
)
from orchestration.destinations.http import Answer, HttpClient, HttpRules, check_url
from orchestration.destinations.pacing import Limit, Pacer
from orchestration.destinations.registry import DestinationSettings
from orchestration.destinations.secrets import SecretSource

BAD_SECRET = frozenset({40001, 40013, 40091})
BAD_TOKEN = frozenset({40014, 42001, 41001})
BUSY = -1
QUOTA = 45009
CONCURRENCY = 45033
CONFLICT = 6000
BAD_ADDRESS = 60020
NO_PERMISSION = frozenset({48002, 60011, 50002})
BAD_ROW = frozenset({84061, 40096, 40003, 60111, 41054, 41056})
BAD_TAG = 40068
NAME_EXISTS = 40071
NAME_LENGTH = 40072
BAD_PARAMETERS = frozenset({40058, 40063, 40035})
NOBODY_CAN_RECEIVE = 41048
BAD_CONTENT = frozenset({45002, 40007, 41064, 41065})
BAD_CURSOR = 50100
TOO_EARLY = 41063

_EARLY_SECONDS = 300.0
_PAGES_AT_MOST = 1_000_000


class WeComSettings(DestinationSettings):
    """What both WeCom destinations need. Limits are those of the documentation; a corp may have others."""

    corp_id: str = Field(min_length=1)
    secret: SecretSource
    base_url: str = "https://qyapi.weixin.qq.com"
    allow_loopback: bool = False
    calls_per_minute: int = Field(default=10_000, ge=1)
    calls_per_hour: int = Field(default=150_000, ge=1)
    workers: int = Field(default=8, ge=1, le=100)
    timeout_seconds: float = Field(default=30.0, gt=0)
    quota_pause_seconds: float = Field(default=60.0, ge=0)


class ApiError(Exception):
    """An `errcode` that is for the caller to judge (a row, a tag name, a cursor). Holds nothing but the number."""

    def __init__(self, errcode: int) -> None:
        self.errcode = errcode
        super().__init__(f"errcode {errcode}")

    @property
    def code(self) -> str:
        """The code as the ledger keeps it."""
        return f"errcode_{self.errcode}"


@dataclass(frozen=True, repr=False)
class _Token:
    value: str
    good_until: float


class TokenCache:
    """The one token of an app. One lock; a failed token is replaced only while it is still the cached one."""

    def __init__(self, fetch: Callable[[], tuple[str, float]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token: _Token | None = None

    def get(self) -> str:
        """The token; fetched when there is none or it ends soon. Raises DestinationError."""
        with self._lock:
            if self._token is None or self._clock.monotonic() >= self._token.good_until:
                self._renew()
            assert self._token is not None  # noqa: S101
            return self._token.value

    def replace(self, failed: str) -> str:
        """Another token than the failed one; whoever comes second finds the new one here. Raises DestinationError."""
        with self._lock:
            if self._token is None or self._token.value == failed:
                self._renew()
            assert self._token is not None  # noqa: S101
            return self._token.value

    def _renew(self) -> None:
        self._token = None
        value, seconds = self._fetch()
        early = min(_EARLY_SECONDS, seconds / 10)
        self._token = _Token(value, self._clock.monotonic() + seconds - early)


_shared_lock = threading.Lock()
_shared: dict[tuple[object, ...], _Shared] = {}


class _Shared:
    """What all destinations of one process share: the token of an app, the pace of a corp's APIs."""

    def __init__(self) -> None:
        self.tokens: TokenCache | None = None
        self.pacers: dict[str, Pacer] = {}


class WeComClient:
    """Calls for one app. May be used from several threads."""

    def __init__(self, settings: WeComSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        host = (urlsplit(settings.base_url).hostname or "").lower()
        self._rules = HttpRules(
            allowed_hosts=frozenset({host}),
            allow_loopback=settings.allow_loopback,
            read_timeout=settings.timeout_seconds,
            connections=settings.workers,
        )
        self._http = HttpClient(self._rules)
        self._lock = threading.Lock()
        self._tokens: TokenCache | None = None
        self.calls: dict[str, int] = defaultdict(int)

    def __repr__(self) -> str:
        return "<WeComClient>"

    def check(self) -> None:
        """See that the URL may be called, the secret is there and gives a token. Raises DestinationError."""
        check_url(self._settings.base_url, self._rules)
        self._cache().get()

    def post(self, api: str, body: Mapping[str, Any], *, idempotent: bool) -> dict[str, Any]:
        """One call of `/cgi-bin/externalcontact/<api>`; a revoked token is replaced once and the call made again.

        Raises ApiError for what the caller judges; RunFailed when no call can work; Throttled; OutcomeUnknown for a
        call that may have had its effect (`idempotent`: only for what happened after it); NotSent.
        """
        token = self._cache().get()
        answer = self._once(api, body, token, fresh=not idempotent)
        if answer["errcode"] in BAD_TOKEN:
            token = self._cache().replace(token)
            answer = self._once(api, body, token, fresh=not idempotent)
            if answer["errcode"] in BAD_TOKEN:
                raise PermissionDenied(
                    f"errcode_{answer['errcode']}", "WeCom refuses a token that it has just given."
                )
        return self._judge(answer)

    def pages(self, api: str, body: Mapping[str, Any], items: str) -> Iterator[dict[str, Any]]:
        """All items of a list with cursors. A bad cursor begins the walk again, once: items may then come twice.

        Raises as `post`.
        """
        restarted = False
        cursor = ""
        for _ in range(_PAGES_AT_MOST):
            try:
                answer = self.patient_post(api, {**body, "cursor": cursor})
            except ApiError as error:
                if error.errcode != BAD_CURSOR or restarted:
                    raise
                restarted, cursor = True, ""
                continue
            yield from answer.get(items) or []
            following = str(answer.get("next_cursor") or "")
            if not following or following == cursor:
                return
            cursor = following

    def patient_post(self, api: str, body: Mapping[str, Any], *, tries: int = 4) -> dict[str, Any]:
        """An idempotent call that waits and tries again when WeCom is busy, the quota is used up or nothing answers.

        Raises the last try's error.
        """
        pause = 1.0
        for left in range(tries - 1, -1, -1):
            try:
                return self.post(api, body, idempotent=True)
            except ApiError as error:
                if error.errcode not in {BUSY, CONFLICT, CONCURRENCY} or not left:
                    raise
            except Throttled as error:
                if not left:
                    raise
                self.pacer(api).pause(error.retry_after or pause)
            except (OutcomeUnknown, NotSent):
                if not left:
                    raise
            self._clock.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")

    def pacer(self, api: str) -> Pacer:
        """The pace of one API of this corp, shared by all destinations of the process."""
        own = self._settings
        with _shared_lock:
            shared = _shared.setdefault((own.base_url, own.corp_id, self._clock), _Shared())
            key = f"{api} {own.calls_per_minute} {own.calls_per_hour}"
            if key not in shared.pacers:
                limits = [Limit(own.calls_per_minute, 60), Limit(own.calls_per_hour, 3600)]
                shared.pacers[key] = Pacer(limits, self._clock)
            return shared.pacers[key]

    def close(self) -> None:
        """Close the connections; the token stays for others of this process."""
        self._http.close()

    # --- one call ---

    def _once(self, api: str, body: Mapping[str, Any], token: str, *, fresh: bool) -> dict[str, Any]:
        self.pacer(api).acquire()
        with self._lock:
            self.calls[api] += 1
        answer = self._http.request(
            "POST",
            f"{self._base}/cgi-bin/externalcontact/{api}?access_token={quote(token, safe='')}",
            headers={"Content-Type": "application/json"},
            body=json.dumps(body, ensure_ascii=False).encode(),
            fresh=fresh,
        )
        return _parsed(answer)

    def _judge(self, answer: dict[str, Any]) -> dict[str, Any]:
        errcode = answer["errcode"]
        if errcode == 0:
            return answer
        failure = _failure(errcode, self._settings.quota_pause_seconds)
        raise failure if failure is not None else ApiError(errcode)

    @property
    def _base(self) -> str:
        return self._settings.base_url.rstrip("/")

    def _cache(self) -> TokenCache:
        with self._lock:
            if self._tokens is None:
                secret = self._settings.secret.read()
                fingerprint = hashlib.sha256(secret.encode()).hexdigest()
                key = (self._base, self._settings.corp_id, fingerprint, self._clock)
                with _shared_lock:
                    shared = _shared.setdefault(key, _Shared())
                    if shared.tokens is None:
                        shared.tokens = TokenCache(self._fetch_token, self._clock)
                    self._tokens = shared.tokens
            return self._tokens

    def _fetch_token(self) -> tuple[str, float]:
        # The secret is read anew: it may have been changed since the last token. A client of its own: the cache
        # outlives the client that made it.
        query = urlencode({"corpid": self._settings.corp_id, "corpsecret": self._settings.secret.read()})
        http = HttpClient(self._rules)
        try:
            answer = self._judge(_token_answer(http, f"{self._base}/cgi-bin/gettoken?{query}", self._clock))
        except ApiError as error:
            failure: DestinationError = OutcomeUnknown(error.code)
        else:
            return str(answer.get("access_token", "")), float(answer.get("expires_in", 7200))
        finally:
            http.close()
        raise failure


@contextmanager
def judged(bad_row: str) -> Iterator[None]:
    """Turn an `errcode` that the caller does not expect into a DestinationError; `bad_row` is the hint for one of a row."""
    failure: DestinationError
    try:
        yield
    except ApiError as error:
        if error.errcode in {BUSY, CONFLICT, CONCURRENCY}:
            failure = Throttled(error.code, 10.0)
        elif error.errcode in BAD_ROW:
            failure = ConfigurationError(error.code, bad_row)
        else:
            failure = Halted(error.code, "WeCom answers with a code that is not expected here.")
    else:
        return
    raise failure


def _token_answer(http: HttpClient, url: str, clock: Clock) -> dict[str, Any]:
    """Asking for a token has no effect that could double, so it is tried up to three times."""
    for pause in (1.0, 2.0, None):
        failure: DestinationError | None = None
        answer: dict[str, Any] = {"errcode": BUSY}
        try:
            answer = _parsed(http.request("GET", url))
        except (OutcomeUnknown, NotSent) as error:
            failure = error
        if failure is None and answer["errcode"] != BUSY:
            return answer
        if pause is None:
            # No record was sent yet: whatever happened to the token, nothing of the call arrived.
            raise NotSent("no_token", "WeCom gives no token at the moment.")
        clock.sleep(pause)
    raise AssertionError("unreachable")


def _parsed(answer: Answer) -> dict[str, Any]:
    """The answer's object with a whole-number `errcode`. Raises OutcomeUnknown, ConfigurationError, Throttled."""
    if answer.status == 429:
        raise Throttled("http_429", 60.0)
    if 300 <= answer.status < 500:
        raise ConfigurationError(f"http_{answer.status}", "This is not WeCom's API: see base_url.")
    if answer.status != 200:
        raise OutcomeUnknown(f"http_{answer.status}")
    parsed: Any = None
    try:
        parsed = json.loads(answer.body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict) or type(parsed.get("errcode")) is not int:
        raise OutcomeUnknown("unreadable_answer")
    return parsed


def _failure(errcode: int, quota_pause: float) -> DestinationError | None:
    """Codes that mean the same for every API; None for those that the caller judges."""
    code = f"errcode_{errcode}"
    if errcode in BAD_SECRET:
        return PermissionDenied(code, "WeCom refuses corp_id or secret.")
    if errcode == BAD_ADDRESS:
        return PermissionDenied(code, "This machine's address is not on the app's list of trusted addresses.")
    if errcode in NO_PERMISSION:
        return PermissionDenied(
            code, "The app may not do this, or not for this member: see its permissions and scope."
        )
    if errcode in BAD_PARAMETERS:
        return ConfigurationError(code, "WeCom refuses the parameters of the call: please report this.")
    if errcode in BAD_CONTENT:
        return Halted(code, "WeCom refuses the text or an attachment of the message.")
    if errcode == QUOTA:
        return Throttled(code, quota_pause)
    return None
