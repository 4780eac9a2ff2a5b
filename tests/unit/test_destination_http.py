"""The shared HTTP client: where it may go, what it makes of failures; webhooks by the Standard Webhooks rules."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from orchestration.destinations.errors import (
    BatchRefused,
    ConfigurationError,
    DestinationError,
    Halted,
    NotSent,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
)
from orchestration.destinations.http import HttpClient, HttpRules, retry_after
from orchestration.destinations.protocol import Accepted, Destination, Rejected
from orchestration.destinations.webhook import signature, signing_key
from tests.fakes.certificates import make_certificate
from tests.fakes.receiver import FakeReceiver
from tests.fakes.server import RESET_AFTER, RESET_BEFORE, TIMEOUT_AFTER, Fault, ScaledClock
from tests.unit.destination_support import batch_of, build_in, record, run_of


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (own, port)) for own in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "10.0.0.1",
            "172.16.5.4",
            "192.168.1.1",
            "127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "100.100.100.200",
        ),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.0.192"),
        *(
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
        ),
    ],
)
def test_no_name_leads_inside(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    client = HttpClient(HttpRules(frozenset({"hooks.example.com"})))
    for resolved in ([address], ["93.184.216.34", address]):
        resolving_to(monkeypatch, *resolved)
        with pytest.raises(ConfigurationError, match="address_refused"):
            client.request("POST", "https://hooks.example.com/")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.example.com/", "url_not_https"),
        ("ftp://hooks.example.com/", "url_not_https"),
        ("https://other.example.com/", "host_not_allowed"),
        ("https://hooks.example.com@other.example.com/", "host_not_allowed|url_with_credentials"),
        ("https://user:word@hooks.example.com/", "url_with_credentials"),
        ("https://hooks.example.com:70000/", "url_unreadable"),
        ("https:///path", "url_unreadable"),
        ("https://hooks.example.com/a b", "url_unreadable"),
        ("https://[::1/", "url_unreadable"),
    ],
)
def test_urls_that_are_refused_without_a_call(url: str, code: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        HttpClient(HttpRules(frozenset({"hooks.example.com"}))).request("POST", url)
    assert told.value.code in code.split("|")


def test_without_tls_only_this_machine_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, "93.184.216.34")
    client = HttpClient(HttpRules(frozenset({"hooks.example.com"}), allow_loopback=True))
    with pytest.raises(ConfigurationError, match="url_not_https"):
        client.request("POST", "http://hooks.example.com/")


def test_the_connection_goes_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeReceiver() as server:
        asked: list[str] = []

        def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        client = HttpClient(HttpRules(frozenset({"name.example.com"}), allow_loopback=True))
        assert client.request("POST", f"http://name.example.com:{server.port}/").status == 401
        # The second look-up is of the address itself: the name is resolved once and cannot change in between.
        assert [own for own in asked if own != "127.0.0.1"] == ["name.example.com"]
        client.close()


def test_a_name_that_does_not_exist_is_surely_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(NotSent):
        HttpClient(HttpRules(frozenset({"hooks.example.com"}))).request("GET", "https://hooks.example.com/")


def test_library_logs_hold_no_query(caplog: pytest.LogCaptureFixture) -> None:
    with FakeReceiver() as server, caplog.at_level(logging.DEBUG):
        client = HttpClient(HttpRules(frozenset({"127.0.0.1"}), allow_loopback=True))
        client.request("POST", f"{server.url}/cgi-bin/x?access_token=very-secret")
        client.close()
    assert "very-secret" not in caplog.text
    assert "/cgi-bin/x" in caplog.text


def test_retry_after_in_seconds_and_as_a_date() -> None:
    now = dt.datetime(2026, 1, 31, 8, 0, tzinfo=dt.UTC)
    assert retry_after({"retry-after": "120"}, now) == 120
    assert retry_after({"retry-after": "Sat, 31 Jan 2026 08:01:00 GMT"}, now) == 60
    assert retry_after({"retry-after": "Sat, 31 Jan 2026 07:00:00 GMT"}, now) == 0
    for text in ("soon", "-5", "1e9", ""):
        assert retry_after({"retry-after": text}, now) is None
    assert retry_after({}, now) is None


# --- webhooks ---


def test_the_signature_of_the_standards_vector() -> None:
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.fixture
def receiver(receiver: FakeReceiver) -> FakeReceiver:
    """Of a clock of its own, and one that hangs long enough for the client's patience here."""
    receiver.check_time = False
    receiver.hang_seconds = 0.6
    return receiver


def hook(server: FakeReceiver, home: Path, clock: ScaledClock | None = None, **settings: Any) -> Destination:
    return build_in(
        home,
        "webhook",
        clock or ScaledClock(factor=0),
        **{
            "url": f"{server.url}/in",
            "secret": {"env": "HOOK_SECRET"},
            "allow_loopback": True,
            "timeout_seconds": 0.25,
            **settings,
        },
    )


def send(destination: Destination, count: int = 3) -> Any:
    session = destination.open(run_of(("city",)))
    try:
        return session.send(batch_of([record(f"138{n:08d}", {"city": "上海"}) for n in range(count)]))
    finally:
        session.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, ConfigurationError),
        (302, ConfigurationError),
        (307, ConfigurationError),
        (400, BatchRefused),
        (401, PermissionDenied),
        (403, PermissionDenied),
        (404, ConfigurationError),
        (410, Halted),
        (413, BatchRefused),
        (422, BatchRefused),
        (429, Throttled),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (504, OutcomeUnknown),
    ],
)
def test_what_each_status_means(
    receiver: FakeReceiver, tmp_path: Path, status: int, error: type[DestinationError]
) -> None:
    location = {"Location": f"{receiver.url}/elsewhere"}
    receiver.faults.always("/in", Fault("http", status=status, headers=location))
    with pytest.raises(error, match=f"http_{status}"):
        send(hook(receiver, tmp_path))
    assert receiver.calls["/elsewhere"] == 0, "no redirect is followed"
    assert receiver.calls["/in"] == (3 if status in {502, 504} else 1)
    assert not receiver.state


def test_patience_is_as_long_as_the_receiver_asks(receiver: FakeReceiver, tmp_path: Path) -> None:
    clock = ScaledClock(factor=0)
    receiver.faults.script("/in", [Fault("http", status=504, headers={"Retry-After": "7"})])
    assert send(hook(receiver, tmp_path, clock)) == [Accepted()] * 3
    assert clock.slept == 7
    receiver.faults.script("/in", [Fault("http", status=429, headers={"Retry-After": "90"})])
    with pytest.raises(Throttled) as told:
        send(hook(receiver, tmp_path, clock))
    assert told.value.retry_after == 90


@pytest.mark.parametrize("fault", [TIMEOUT_AFTER, RESET_AFTER, RESET_BEFORE])
def test_a_replay_carries_the_same_id_and_acts_once(
    receiver: FakeReceiver, tmp_path: Path, fault: Fault
) -> None:
    destination = hook(receiver, tmp_path)
    receiver.faults.script("/in", [fault])
    with pytest.raises(OutcomeUnknown):
        send(destination)
    assert send(destination) == [Accepted()] * 3
    assert len(set(receiver.ids)) == 1
    assert set(receiver.applied.values()) == {1}


def test_a_half_accepted_batch(receiver: FakeReceiver, tmp_path: Path) -> None:
    receiver.reject_keys = {"13800000001": "blocked", "13800000002": "call 13800000002 back"}
    assert send(hook(receiver, tmp_path)) == [Accepted(), Rejected("blocked"), Rejected("unfit_code")]


def test_while_keys_rotate_both_sign(
    receiver: FakeReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW_SECRET", "whsec_" + "bmV3IHNlY3JldCBuZXcgc2VjcmV0")
    destination = hook(
        receiver, tmp_path, secret={"env": "NEW_SECRET"}, older_secrets=[{"env": "HOOK_SECRET"}]
    )
    assert send(destination) == [Accepted()] * 3


def test_an_empty_batch_calls_nobody(receiver: FakeReceiver, tmp_path: Path) -> None:
    assert send(hook(receiver, tmp_path), 0) == []
    assert receiver.total_calls == 0


@pytest.mark.parametrize("secret", ["", "plain", "whsec_###", "whsec_c2hvcnQ="])
def test_secrets_that_cannot_sign(
    receiver: FakeReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("HOOK_SECRET", secret)
    with pytest.raises(ConfigurationError):
        hook(receiver, tmp_path).check()


def test_the_certificate_must_fit_the_name_although_the_address_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path, "hooks.example.com")
    with FakeReceiver() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        resolving_to(monkeypatch, "127.0.0.1")

        def call(host: str, ca_file: Path | None) -> int:
            rules = HttpRules(frozenset({host}), allow_loopback=True, ca_file=ca_file, read_timeout=2)
            client = HttpClient(rules)
            try:
                return client.request("POST", f"https://{host}:{server.port}/in").status
            finally:
                client.close()

        assert call("hooks.example.com", certificate) == 401
        for host, ca_file in (("hooks.example.com", None), ("other.example.com", certificate)):
            with pytest.raises(ConfigurationError, match="certificate_refused"):
                call(host, ca_file)
