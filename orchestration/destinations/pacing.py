"""How fast and how much at once: limits per API, pauses, and a number of workers that shrinks.

A destination's limits count calls in windows whose edges nobody outside knows. So no window of any position may hold
more than the limit: the shortest limit is kept by a token bucket (a small burst, then an even rate), longer ones by
counting the calls of the last window in slots. Both stay within 5 % of what is allowed.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from orchestration.destinations.clock import Clock, SystemClock

_BURST_SHARE = 0.02
_SLOTS = 60


@dataclass(frozen=True)
class Limit:
    """At most `calls` within any `seconds`."""

    calls: int
    seconds: float

    def __post_init__(self) -> None:
        if self.calls < 1 or self.seconds <= 0:
            raise ValueError("a limit needs at least one call and a time above 0")


class _Bucket:
    """Burst b and rate (calls - b) / seconds: any window of `seconds` then holds at most `calls`."""

    def __init__(self, limit: Limit, now: float) -> None:
        self.burst = max(1.0, math.floor(limit.calls * _BURST_SHARE))
        # One call per window: the burst is everything, and it comes back once per window.
        self.rate = max(limit.calls - self.burst, 1.0) / limit.seconds
        self.tokens = self.burst
        self.at = now

    def earliest(self, now: float) -> float:
        tokens = self.tokens + (now - self.at) * self.rate
        return now if tokens >= 1 - 1e-9 else now + (1 - tokens) / self.rate

    def take(self, at: float) -> None:
        self.tokens = min(self.burst, self.tokens + (at - self.at) * self.rate) - 1
        self.at = at


class _Window:
    """Calls of the last window by slots; one slot more is counted, so that the edges do not matter."""

    def __init__(self, limit: Limit) -> None:
        self.calls = limit.calls
        self.slot_seconds = limit.seconds / _SLOTS
        self.slots: deque[list[int]] = deque()  # [number of the slot, calls in it]
        self.total = 0

    def earliest(self, now: float) -> float:
        self._forget(now)
        return now if self.total < self.calls else (self.slots[0][0] + _SLOTS + 1) * self.slot_seconds

    def take(self, at: float) -> None:
        self._forget(at)
        slot = int(at // self.slot_seconds)
        if self.slots and self.slots[-1][0] == slot:
            self.slots[-1][1] += 1
        else:
            self.slots.append([slot, 1])
        self.total += 1

    def _forget(self, now: float) -> None:
        # The small addition keeps a moment that was computed as a slot's end from falling before it.
        oldest = int((now + 1e-6) // self.slot_seconds) - _SLOTS
        while self.slots and self.slots[0][0] < oldest:
            self.total -= self.slots.popleft()[1]


class Pacer:
    """Lets calls of one API through as its limits allow; shared by threads, memory is constant."""

    def __init__(self, limits: Sequence[Limit], clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        ordered = sorted(limits, key=lambda limit: limit.seconds)
        start = self._clock.monotonic()
        self._gates: list[_Bucket | _Window] = [
            _Bucket(limit, start) if position == 0 else _Window(limit)
            for position, limit in enumerate(ordered)
        ]
        self._lock = threading.Lock()
        self._not_before = start

    def acquire(self) -> None:
        """Wait for the next call's turn. Turns are given in the order of asking."""
        with self._lock:
            at = max(self._clock.monotonic(), self._not_before)
            while (later := max((gate.earliest(at) for gate in self._gates), default=at)) > at:
                at = later
            for gate in self._gates:
                gate.take(at)
            self._not_before = at
        while (wait := self._turn(at) - self._clock.monotonic()) > 0:
            self._clock.sleep(wait)

    def pause(self, seconds: float) -> None:
        """Let nothing through for `seconds` from now, also those who wait already."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock.monotonic() + seconds)
            self._paused_until = self._clock.monotonic() + seconds

    _paused_until = -math.inf

    def _turn(self, at: float) -> float:
        return max(at, self._paused_until)


class Workers:
    """How many calls may be under way at once: halved when the destination says it is too many."""

    def __init__(self, most: int) -> None:
        self._allowed = most
        self._busy = 0
        self._free = threading.Condition()

    @property
    def allowed(self) -> int:
        """The present number."""
        with self._free:
            return self._allowed

    @contextmanager
    def one(self) -> Iterator[int]:
        """Be one of them; the value is the number that was allowed at the start, for `halve`."""
        with self._free:
            self._free.wait_for(lambda: self._busy < self._allowed)
            self._busy += 1
            seen = self._allowed
        try:
            yield seen
        finally:
            with self._free:
                self._busy -= 1
                self._free.notify_all()

    def halve(self, seen: int) -> None:
        """Halve the number, once for all calls that began under the same one; never below 1."""
        with self._free:
            if self._allowed == seen:
                self._allowed = max(1, seen // 2)
