"""A threaded HTTP server on loopback with faults on demand."""

from __future__ import annotations

import datetime as dt
import json
import random
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

FaultKind = Literal["answer", "reset", "hang", "http"]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one call.

    reset: the connection breaks, hang: no answer comes (the client's own timeout ends it), http: status without a use,
    answer: this body instead of the true one. `applied`: after the call took effect instead of before it.
    """

    kind: FaultKind
    applied: bool = False
    status: int = 200
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


TIMEOUT_AFTER = Fault("hang", applied=True)
TIMEOUT_BEFORE = Fault("hang")
RESET_BEFORE = Fault("reset")
RESET_AFTER = Fault("reset", applied=True)
SERVER_ERROR = Fault("http", status=500)
SERVER_ERROR_AFTER = Fault("http", applied=True, status=500)


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}


class Faults:
    """A queue of faults per API (`*`: any), or a function that draws them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Fault | None]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}
        self.draw: Callable[[str], Fault | None] | None = None

    def script(self, api: str, faults: Sequence[Fault | None]) -> None:
        """The next calls of the API meet these, in order; None is a call without a fault."""
        with self._lock:
            self._queues[api].extend(faults)

    def always(self, api: str, fault: Fault | None) -> None:
        with self._lock:
            if fault is None:
                self._always.pop(api, None)
            else:
                self._always[api] = fault

    def clear(self) -> None:
        with self._lock:
            self._queues.clear()
            self._always.clear()
            self.draw = None

    def randomly(self, seed: int, share: float, faults: Sequence[Fault]) -> None:
        """A share of all calls meets one of these, drawn with the seed."""
        chance = random.Random(seed)
        self.draw = lambda api: chance.choice(faults) if chance.random() < share else None

    def next(self, api: str) -> Fault | None:
        with self._lock:
            for name in (api, "*"):
                if self._queues[name]:
                    return self._queues[name].popleft()
                if name in self._always:
                    return self._always[name]
            return self.draw(api) if self.draw else None


class FakeServer(ABC):
    """Base of the fakes: counts calls and requests at once, meets faults, keeps nothing of the client."""

    hang_seconds = 30.0

    def __init__(self) -> None:
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self.bodies: list[bytes] = []
        self.keep_bodies = False
        self.lock = threading.RLock()
        self.stopped = threading.Event()
        self.under_way = 0
        self.most_under_way = 0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1
            timeout = 60

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                fake._serve(self)

            do_POST = do_GET

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.host = "127.0.0.1"
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    # --- what a fake defines ---

    def api(self, request: Request) -> str:
        """The name by which calls are counted and faults scripted."""
        return request.path

    @abstractmethod
    def answer(self, request: Request) -> Reply:
        """What the server says to a call that meets no fault."""

    # --- running ---

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def total_calls(self) -> int:
        return sum(self.calls.values())

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        request = Request(
            handler.command,
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            {key.lower(): value for key, value in handler.headers.items()},
            body,
        )
        api = self.api(request)
        with self.lock:
            self.calls[api] += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            if self.keep_bodies:
                self.bodies.append(body)
        try:
            reply = self._reply(api, request)
        finally:
            with self.lock:
                self.under_way -= 1
        if reply is None:
            self._break(handler)
            return
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)

    def _reply(self, api: str, request: Request) -> Reply | None:
        fault = self.faults.next(api)
        if fault is None:
            return self.answer(request)
        if fault.applied:
            self.answer(request)
        if fault.kind == "hang":
            self.stopped.wait(self.hang_seconds)
            return None
        if fault.kind == "reset":
            return None
        body = b"<html>busy</html>" if fault.kind == "http" else json.dumps(fault.body).encode()
        return Reply(fault.status, body, fault.headers)

    def _break(self, handler: BaseHTTPRequestHandler) -> None:
        """Reset the connection instead of closing it in order."""
        handler.close_connection = True
        connection: socket.socket = handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


class ScaledClock:
    """A clock that runs `factor` times as fast as the machine's, or (factor 0) only when somebody sleeps."""

    def __init__(self, factor: float = 1.0, start: float = 1_790_000_000.0) -> None:
        self.factor = factor
        self._origin = time.monotonic()
        self._moment = start
        self._lock = threading.Lock()
        self.slept = 0.0

    def monotonic(self) -> float:
        with self._lock:
            return self._moment + (time.monotonic() - self._origin) * self.factor

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.monotonic(), dt.UTC)

    def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        with self._lock:
            self.slept += seconds
            if self.factor == 0:
                self._moment += seconds
                return
        time.sleep(seconds / self.factor)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._moment += seconds
