"""A push as a process that can be killed: `python -m tests.killed_push FOLDER`.

The destination is a file that is appended to: it keeps nothing of its own in the process that dies. It reconciles by
reading the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestration.activation.activate import Activation
from orchestration.activation.ledger import Ledger
from orchestration.activation.push import Tools
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Capabilities,
    Finding,
    NotReceived,
    Outcome,
    RunInfo,
)
from orchestration.home import Home
from tests.activation_support import KEYS, ListPlanner, line

PEOPLE = {f"person{i}": "1" for i in range(7)}


class FileDestination:
    """Appends keys to a file, durably."""

    name = "fake"
    capabilities = Capabilities(idempotent=False, removes=True, reconciles=True, batch_size=3)

    def __init__(self, file: Path) -> None:
        self.file = file

    def check(self) -> None:
        return

    def open(self, run: RunInfo) -> FileDestination:
        return self

    def send(self, batch: Batch) -> Sequence[Outcome]:
        with self.file.open("a") as file:
            file.write("".join(f"{record.key}\n" for record in batch.records))
            file.flush()
            os.fsync(file.fileno())
        return [Accepted()] * len(batch.records)

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        there = self.file.read_text().split() if self.file.exists() else []
        return [Accepted() if record.key in there else NotReceived() for record in batch.records]

    def finish(self) -> None:
        return

    def close(self) -> None:
        return


def main(folder: Path) -> int:
    """Push once; 0 when all is well."""
    home = Home(folder)
    ledger = Ledger.open(home)
    activation = Activation(
        home, lambda _: Tools(ledger, KEYS, lambda users: {}), ledger, ListPlanner(ledger, PEOPLE)
    )
    return 0 if activation.push(line(), FileDestination(folder / "received.txt")).ok else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
