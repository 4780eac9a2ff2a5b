"""A push of many tag changes in a process of its own: `python -m tests.large_push FOLDER URL`.

Prints what became of it and the most memory that the process ever held, as JSON. The home is that of `publish_many`; the
clock is moved by waiting only, so that the pace costs no time.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import duckdb

from orchestration.activation.activate import Activation
from orchestration.activation.contact_policy import contact_policy
from orchestration.activation.ledger import Ledger
from orchestration.activation.lines import LineField, LineGuard
from orchestration.activation.payload import Keys
from orchestration.activation.plan import WarehousePlanner
from orchestration.activation.push import Tools
from orchestration.home import Home
from orchestration.settings import load_settings
from tests.activation_support import line
from tests.fakes.server import ScaledClock
from tests.fakes.wecom import FakeWeCom
from tests.published_home import publish
from tests.unit.destination_support import build_in

MEMBERS = [f"member{n}" for n in range(10)]
LINE = line(
    destination="there",
    purpose="service",
    channel="tags",
    key="contact_id",
    guard=LineGuard(None, None),
    fields=(LineField("RFM", "column", "orders_count"),),
)


def contact(number: int) -> str:
    """The contact_id of the so-manieth user."""
    return f"wm{number:08d}"


def publish_many(folder: Path, users: int) -> Home:
    """A home whose audience has so many users, all of whom get a tag."""
    home = publish(folder, [])
    many = f"range({users}) as numbers (n)"
    with duckdb.connect(str(home.private_marts)) as session:
        session.execute(
            "insert into user_identifiers select 'u' || n, 'contact_id', 'wm' || lpad(cast(n as varchar), 8, '0'), "
            f"timestamp '2026-06-01' from {many}"
        )
    with duckdb.connect(str(home.marts)) as session:
        session.execute(
            f"insert into audience_members select 'winback', 'u' || n, date '2026-06-30', date '2026-06-30', false from {many}"
        )
        session.execute(
            f"insert into user_wide select 'u' || n, n % 7, 12.5, date '2026-06-29', timestamp '2026-06-29' from {many}"
        )
        session.execute(
            f"create table contact_policy_decisions as select '{LINE.activation}' as activation, 'u' || n as user_id, "
            f"true as is_allowed, null::varchar as rule from {many}"
        )
    return home


def main(folder: Path, url: str) -> int:
    """Push once; 0 when all was accepted."""
    home = Home(folder)
    settings = load_settings(home)[0]
    keys = Keys(home.secret_key())
    ledger = Ledger.open(home)
    policy = contact_policy(home, settings, ledger=ledger, lines=[LINE])
    clock = ScaledClock(factor=0)
    destination = build_in(
        folder,
        "wecom_tags",
        clock,
        corp_id=FakeWeCom.CORP,
        secret={"env": "WECOM_SECRET"},
        base_url=url,
        allow_loopback=True,
        members=MEMBERS,
        timeout_seconds=60,
        workers=1,
    )
    planner = WarehousePlanner(home, settings, ledger, keys, policy)
    tools = Tools(ledger, keys, lambda users: policy.refused_now(LINE, users, clock.now()))
    told: list[int] = []
    tools.tell = lambda progress: told.append(progress.done)
    run = Activation(home, lambda _: tools, ledger, planner).push(LINE, destination).run
    assert run is not None
    print(
        json.dumps(
            {
                "planned": run.planned,
                "accepted": run.accepted,
                "progress": len(told),
                "most_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )
    return 0 if run.accepted == run.planned else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
