"""Named places at which a process may be killed, so that tests can kill it at each of them.

`JINGXI_CRASH_AT=after_call` kills the process with SIGKILL when it gets there; `after_call:3` the third time.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Literal, get_args

VARIABLE = "JINGXI_CRASH_AT"

CrashPoint = Literal[
    "while_planning",  # some rows of the payload are written, the ledger knows nothing
    "after_payload",  # the payload is whole, the ledger knows nothing
    "after_plan",  # the run stands in the ledger, nothing was tried
    "before_sending",  # about to write that a batch is being sent
    "after_sending",  # that is written; the call was not made
    "after_call",  # the destination answered; the answer is not written
    "after_outcomes",  # the answer is written
    "before_finish",  # all batches were sent, the destination was not told that this was all
    "after_finish",  # the destination finished; that is not written
    "before_close",  # everything is written but that the run is over
    "after_close",  # the run is over; its payload is not removed
    "before_replay",  # about to ask or send again what is in doubt
    "after_replay",  # that is answered; the answer is not written
]
CRASH_POINTS: tuple[CrashPoint, ...] = get_args(CrashPoint)

_reached: Counter[str] = Counter()


def reach(point: CrashPoint) -> None:
    """Go on, unless the environment says that the process dies here."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    name, _, times = wanted.partition(":")
    if name == point:
        _reached[point] += 1
        if _reached[point] >= int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)
