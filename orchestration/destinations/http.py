"""One HTTP client for all destinations.

- Only https, only declared hosts; the address is looked at after the name was resolved, and the connection goes to
  that very address, so a name cannot point inside (private, loopback, link-local, metadata) a moment later.
- No redirect is followed, no proxy or credential is taken from the environment.
- What goes wrong is told by the errors of `orchestration.destinations.errors`; they hold neither URL nor text.
- Queries of URLs hold tokens: the library's own log lines are redacted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import http.client
import ipaddress
import logging
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3 import exceptions as failures

from orchestration.destinations.errors import ConfigurationError, DestinationError, NotSent, OutcomeUnknown

MAX_ANSWER_BYTES = 32 << 20
_QUERY = re.compile(r"\?[^\s\"']*")
# Carrier-grade NAT and the addresses at which clouds keep their metadata are not private in the sense of ipaddress.
_INSIDE = tuple(
    ipaddress.ip_network(own)
    for own in ("100.64.0.0/10", "169.254.0.0/16", "100.100.100.200/32", "192.0.0.0/24")
)
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 inside IPv6, RFC 6052


class _WithoutQueries(logging.Filter):
    """Log lines of the library, without what stands behind a question mark."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _QUERY.sub("?…", record.getMessage()), None
        return True


for _own in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
    logging.getLogger(_own).addFilter(_WithoutQueries())


@dataclass(frozen=True, repr=False)
class Answer:
    """Status, headers (names in lower case) and body of an answer. The representation shows the status only."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


@dataclass(frozen=True)
class HttpRules:
    """Where the client may go.

    allowed_hosts: lower-case names or addresses. allow_loopback: this machine may be called, also without TLS (tests,
    a relay on the same machine). ca_file: certificates of an own authority. Times are in seconds.
    """

    allowed_hosts: frozenset[str]
    allow_loopback: bool = False
    ca_file: Path | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    connections: int = 16


class HttpClient:
    """Calls under `HttpRules`; may be used from several threads."""

    def __init__(self, rules: HttpRules) -> None:
        self._rules = rules
        self._pools: dict[tuple[str, str, int, str], urllib3.HTTPConnectionPool] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "<HttpClient>"

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        fresh: bool = False,
    ) -> Answer:
        """One call, one answer, whatever its status.

        `fresh`: on a connection of its own. A kept one may be closed by the other side at the moment of writing, after
        which nobody knows whether the call arrived: for calls that must not be made twice.

        Raises ConfigurationError (address not allowed, certificate refused), NotSent (no connection was made),
        OutcomeUnknown (timeout or broken connection after that).
        """
        place = _place(url, self._rules)
        failure: DestinationError
        # Raised outside of the handlers: the library's exceptions, which know the URL, do not travel along.
        try:
            address = _address(place, self._rules)
        except (OSError, UnicodeError):  # the latter: a name that no resolver takes
            failure = NotSent("name_not_found", "The host's name could not be resolved.")
        else:
            pool = self._new_pool(place, address) if fresh else self._pool(place, address)
            try:
                answer = pool.urlopen(
                    method,
                    place.target,
                    body=body,
                    headers={
                        "Host": place.host_header,
                        "User-Agent": "jingxi",
                        **(headers or {}),
                    },
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                    pool_timeout=int(self._rules.connect_timeout + self._rules.read_timeout) + 1,
                )
                try:
                    content = answer.read(MAX_ANSWER_BYTES + 1)
                    status, answered = answer.status, {k.lower(): v for k, v in answer.headers.items()}
                finally:
                    answer.release_conn()
            except Exception as error:
                failure = _failure(error)
            else:
                if len(content) <= MAX_ANSWER_BYTES:
                    return Answer(status, answered, content)
                failure = OutcomeUnknown("answer_too_large")
            finally:
                if fresh:
                    pool.close()
        raise failure

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            with contextlib.suppress(Exception):
                pool.close()

    def _pool(self, place: _Place, address: str) -> urllib3.HTTPConnectionPool:
        key = (place.scheme, address, place.port, place.host)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._new_pool(place, address)
            return self._pools[key]

    def _new_pool(self, place: _Place, address: str) -> urllib3.HTTPConnectionPool:
        rules = self._rules
        timeout = urllib3.Timeout(connect=rules.connect_timeout, read=rules.read_timeout)
        if place.scheme != "https":
            return urllib3.HTTPConnectionPool(
                address, place.port, timeout=timeout, maxsize=rules.connections, block=True
            )
        return urllib3.HTTPSConnectionPool(
            address,
            place.port,
            timeout=timeout,
            maxsize=rules.connections,
            block=True,
            server_hostname=place.host,
            ssl_context=ssl.create_default_context(cafile=str(rules.ca_file) if rules.ca_file else None),
        )


def retry_after(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Seconds to wait by a Retry-After header (seconds or a date, RFC 9110 section 10.2.3); None without a usable one."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or dt.UTC) - now).total_seconds())


def check_url(url: str, rules: HttpRules) -> None:
    """See that a declared URL may be called, without a call. Raises ConfigurationError."""
    _place(url, rules)


@dataclass(frozen=True, repr=False)
class _Place:
    scheme: str
    host: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443, "http": 80}[self.scheme] else f"{host}:{self.port}"


def _place(url: str, rules: HttpRules) -> _Place:
    parts: SplitResult | None = None
    port: int | None = None
    with contextlib.suppress(ValueError):
        split = urlsplit(url)
        port, parts = split.port, split
    if parts is None or not parts.hostname or any(ord(sign) <= 0x20 for sign in url):
        raise ConfigurationError("url_unreadable", "The URL cannot be read.")
    host = parts.hostname.lower()
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("url_with_credentials", "The URL holds a user or a password: take them out.")
    if host not in rules.allowed_hosts:
        raise ConfigurationError("host_not_allowed", "The URL's host is not among allowed_hosts.")
    if parts.scheme != "https" and not (parts.scheme == "http" and rules.allow_loopback):
        raise ConfigurationError("url_not_https", "The URL must begin with https://.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), target)


def _address(place: _Place, rules: HttpRules) -> str:
    """The address to connect to. Raises ConfigurationError when any of the name's addresses lies inside, OSError."""
    found = [
        str(entry[4][0]) for entry in socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    ]
    refused = [own for own in found if not _may_call(own, rules)]
    if refused or not found:
        raise ConfigurationError(
            "address_refused", "The URL's host has a private, loopback, link-local or metadata address."
        )
    if place.scheme != "https" and not all(ipaddress.ip_address(own).is_loopback for own in found):
        raise ConfigurationError(
            "url_not_https", "Without TLS only this machine may be called: use https://."
        )
    return found[0]


def _may_call(address: str, rules: HttpRules) -> bool:
    own: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(own, ipaddress.IPv6Address):
        hidden = own.ipv4_mapped or own.sixtofour or (own.teredo[1] if own.teredo else None)
        if own in _TRANSLATED:
            hidden = ipaddress.IPv4Address(int(own) & 0xFFFFFFFF)
        own = hidden or own
    if own.is_loopback:
        return rules.allow_loopback
    if isinstance(own, ipaddress.IPv4Address) and any(own in network for network in _INSIDE):
        return False
    return own.is_global and not own.is_multicast


def _failure(error: Exception) -> DestinationError:
    """What the library's exception means: where it happened decides whether the call can have arrived."""
    if isinstance(error, ConfigurationError):
        return error
    causes = [error, getattr(error, "reason", None), error.__cause__, error.__context__]
    if any(isinstance(cause, ssl.SSLCertVerificationError | ssl.CertificateError) for cause in causes) or any(
        isinstance(own, ssl.SSLCertVerificationError)
        for cause in causes
        if cause is not None
        for own in cause.args
    ):
        return ConfigurationError(
            "certificate_refused", "The host's certificate does not fit its name or authority."
        )
    if isinstance(
        error, failures.NewConnectionError | failures.ConnectTimeoutError | failures.EmptyPoolError
    ):
        return NotSent("no_connection", "The host could not be reached.")
    if isinstance(error, failures.TimeoutError):
        return OutcomeUnknown("timeout")
    if isinstance(error, failures.HTTPError | http.client.HTTPException | OSError):
        return OutcomeUnknown("connection_broken")
    return OutcomeUnknown("unexpected_error")
