"""One writer per home: an advisory lock that dies with its holder."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from orchestration.errors import LockedError
from orchestration.home import Home

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Holder:
    """Who holds the lock."""

    pid: int
    purpose: str
    since: str

    def __str__(self) -> str:
        return f"{self.purpose} (process {self.pid}, since {self.since})"


class RunLock:
    """The writer's lock of a home.

    `flock` frees it when the process ends, however it ends. A process that has it may take it again: the command
    line takes it before it prepares dbt, the job takes it once more.
    """

    _held: ClassVar[dict[Path, int]] = {}

    def __init__(self, home: Home) -> None:
        self._file = home.lock_file

    def holder(self) -> Holder | None:
        """Who holds the lock now, None when it is free."""
        try:
            descriptor = os.open(self._file, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            if self._try(descriptor):
                return None
            return self._read()
        finally:
            os.close(descriptor)

    @contextmanager
    def hold(
        self, purpose: str, *, wait: bool = True, on_wait: Callable[[Holder], None] | None = None
    ) -> Iterator[None]:
        """Hold the lock. `on_wait` is told once who holds it. Raises LockedError when `wait` is false."""
        if self._file in self._held:
            yield
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            told = False
            while not self._try(descriptor):
                holder = self._read() or Holder(0, "another run", "a moment ago")
                if not wait:
                    raise LockedError(f"This home is being written by {holder}. Try again when it is done.")
                if not told and on_wait:
                    on_wait(holder)
                told = True
                time.sleep(_POLL_SECONDS)
            now = dt.datetime.now().astimezone().isoformat(timespec="seconds")
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(Holder(os.getpid(), purpose, now))).encode(), 0)
            self._held[self._file] = descriptor
            try:
                yield
            finally:
                del self._held[self._file]
        finally:
            os.close(descriptor)

    @staticmethod
    def _try(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self) -> Holder | None:
        try:
            return Holder(**json.loads(self._file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
