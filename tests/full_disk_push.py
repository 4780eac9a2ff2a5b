"""A push to a webhook whose process may write no more from a named point on: `python -m tests.full_disk_push FOLDER URL POINT`.

From there no file may grow beyond its present size, as on a full disk; what is sent still goes out. Prints what the push
says; exit status 1 when it did not come to its end.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from orchestration.activation.activate import Activation
from orchestration.activation.crash_points import CrashPoint
from orchestration.activation.ledger import Ledger
from orchestration.activation.push import Tools
from orchestration.errors import JingxiError
from orchestration.home import Home
from tests.activation_support import KEYS, ListPlanner, line
from tests.unit.destination_support import build_in

PEOPLE = {f"1380000{i:04}": str(i) for i in range(10)}


def main(folder: Path, url: str, at: str) -> int:
    """Push once; 0 when all is well."""
    home = Home(folder)
    ledger = Ledger.open(home)

    def reach(point: CrashPoint) -> None:
        if point == at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    webhook = build_in(
        folder, "webhook", url=url, secret={"env": "HOOK_SECRET"}, allow_loopback=True, batch_size=4
    )
    activation = Activation(
        home,
        lambda _: Tools(ledger, KEYS, lambda users: {}, reach=reach),
        ledger,
        ListPlanner(ledger, PEOPLE),
    )
    try:
        return 0 if activation.push(line(), webhook).ok else 1
    except JingxiError as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
