"""What was sent comes back: deliveries as files of the input table touches, taken in like any other file.

The ledger holds keyed hashes only. The identifiers that a touches file needs are looked up in the published private
marts, so a file of deliveries can only name people whom the warehouse knows already: it makes no users, and whom an
erasure has removed is not written again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.activation.ledger import Ledger
from orchestration.activation.lines import Line
from orchestration.activation.payload import Keys
from orchestration.destinations.protocol import Answer
from orchestration.home import SEEDS_DIR, Home
from orchestration.ingestion.intake import FileResult, take_in
from orchestration.ingestion.registry import Registry
from orchestration.publishing.pair import open_pair
from orchestration.settings import Settings
from orchestration.specs.catalog import read_identifier_types
from orchestration.specs.contact_rules import read_contact_rules

TOUCHES = "touches"
USER_ID = "user_id"
_OPTIONAL = ("campaign_id", "journey_node", "content_id", "staff_id")
STATUSES = {"accepted": "sent", "rejected": "failed"}
PLANNED = "planned"  # accepted by a destination that made a task of it
# A task is made before its record is accepted: by less than this, and clocks differ by less than the slack.
_ACCEPTED_WITHIN = dt.timedelta(hours=1)
_CLOCK_SLACK = dt.timedelta(minutes=5)
LOOKED_BACK_DAYS = 31
_CHUNK = 50_000


@dataclass(frozen=True)
class Delivery:
    """One status of one message. `key_hash` is HMAC-SHA256 with the home's key of `<id_type>:<identifier>`, in hexadecimal, as
    in user_identities; id_type may also be user_id. `touch_id` is the same for all statuses of a message and is no personal
    data. `occurred_at` is aware."""

    touch_id: str
    id_type: str
    key_hash: str
    channel: str
    status: str
    occurred_at: dt.datetime
    campaign_id: str = ""
    journey_node: str = ""
    content_id: str = ""
    staff_id: str = ""


@dataclass(frozen=True)
class WrittenDeliveries:
    """The file that holds the deliveries, None when there are none; rows in it, and deliveries to people who are not known
    any more."""

    file: Path | None
    rows: int
    unknown: int


def write_deliveries(
    home: Home, settings: Settings, deliveries: Iterable[Delivery], *, at: dt.datetime
) -> WrittenDeliveries:
    """Write deliveries where the next run takes them in. The same deliveries again are the same file, however often.

    Several files may hold the same message and status: the warehouse counts it once, by touch_id and status. `at` (aware)
    is now; its business day is the day on which the rows arrive. Raises JingxiError when nothing is published.
    """
    told = list(deliveries)
    if not told:
        return WrittenDeliveries(None, 0, 0)
    known = _identifiers(home, settings, {(one.id_type, one.key_hash) for one in told})
    lines = {
        (moment(one.occurred_at), one.touch_id, one.status, *found): _line(one, *found)
        for one in told
        if (found := known.get((one.id_type, one.key_hash))) is not None
    }
    unknown = sum((one.id_type, one.key_hash) not in known for one in told)
    if not lines:
        return WrittenDeliveries(None, 0, unknown)
    content = "".join(lines[key] for key in sorted(lines)).encode()
    name = f"{hashlib.sha256(content).hexdigest()[:32]}.jsonl"
    there = next((home.deliveries / TOUCHES).glob(f"*/{name}"), None) or _taken_in(home, name)
    file = there or home.deliveries / TOUCHES / f"dt={settings.business_day(at)}" / name
    if there is None:
        _write(home, file, content)
    return WrittenDeliveries(file, len(lines), unknown)


def export_deliveries(
    home: Home,
    settings: Settings,
    ledger: Ledger,
    lines: Iterable[Line],
    *,
    at: dt.datetime,
    answering: Collection[str] = (),
    days: int = LOOKED_BACK_DAYS,
) -> WrittenDeliveries:
    """Write what became of the messages of all lines, a file for each run of the last days, as `write_deliveries` does.

    Accepted is `sent` (`planned` for the destinations named in `answering`, see `export_answers`), rejected is `failed`; what is
    in doubt waits until it is known. Only lines that users notice have
    deliveries: a tag or a key for advertising is no message. Returns the sums; `file` is the last one. Call it after
    every push and whenever: nothing is written twice. Raises JingxiError.
    """
    rules = read_contact_rules()
    file, rows, unknown = None, 0, 0
    for line in lines:
        if not rules.rule(line.channel, line.purpose).disturbs:
            continue
        for run_id, settled in ledger.settled(line.ledger_key, at - dt.timedelta(days=days)):
            told = (
                Delivery(
                    f"push:{run_id}:{one.position}",
                    line.key,
                    one.key_hash,
                    line.channel,
                    PLANNED
                    if one.state == "accepted" and line.destination in answering
                    else STATUSES[one.state],
                    one.changed_at,
                    line.campaign_id,
                    line.activation,
                    line.content_id,
                )
                for one in settled
            )
            written = write_deliveries(home, settings, told, at=at)
            file, rows, unknown = written.file or file, rows + written.rows, unknown + written.unknown
    return WrittenDeliveries(file, rows, unknown)


def export_answers(
    home: Home,
    settings: Settings,
    ledger: Ledger,
    lines: Iterable[Line],
    answers: Iterable[Answer],
    *,
    at: dt.datetime,
    days: int = LOOKED_BACK_DAYS,
) -> WrittenDeliveries:
    """Write what a destination tells of its tasks; `lines` are all lines to it. Each answer belongs to the record of its
    customer that was accepted first after the task was made; tasks that somebody else made are left out.

    Raises JingxiError.
    """
    keys = Keys(home.secret_key())
    accepted: dict[tuple[str, str], list[tuple[dt.datetime, str, Line]]] = {}
    kinds = set()
    for line in lines:
        kinds.add(line.key)
        for run_id, settled in ledger.settled(line.ledger_key, at - dt.timedelta(days=days)):
            for one in settled:
                if one.state == "accepted":
                    touch = (one.changed_at, f"push:{run_id}:{one.position}", line)
                    accepted.setdefault((line.key, one.key_hash), []).append(touch)
    told = []
    for answer in answers:
        first = answer.made_at - _CLOCK_SLACK
        found = min(
            (
                touch
                for kind in kinds
                for touch in accepted.get((kind, keys.of_key(kind, answer.key)), ())
                if first <= touch[0] <= first + _ACCEPTED_WITHIN
            ),
            key=lambda touch: touch[:2],
            default=None,
        )
        if found is not None:
            _, touch_id, line = found
            told.append(
                Delivery(
                    touch_id,
                    line.key,
                    keys.of_key(line.key, answer.key),
                    line.channel,
                    answer.status,
                    answer.at,
                    line.campaign_id,
                    line.activation,
                    line.content_id,
                    answer.by,
                )
            )
    return write_deliveries(home, settings, told, at=at)


def take_in_deliveries(home: Home, settings: Settings, *, now: dt.datetime) -> tuple[FileResult, ...]:
    """Take in the files of deliveries and remove them: raw holds the rows, and a second copy of personal data serves nobody.

    The caller holds the home's lock. Raises as `take_in`.
    """
    if not (home.deliveries / TOUCHES).is_dir():
        return ()
    result = take_in(home, settings, home.deliveries, now=now, business_day=settings.business_day(now))
    for file in result.files:
        if file.status != "quarantined":
            (home.deliveries / file.path).unlink(missing_ok=True)
    return result.files


def _taken_in(home: Home, name: str) -> Path | None:
    """Where a file of deliveries lay that was taken in."""
    known = (path for table, path in Registry(home).heads() if table == TOUCHES and path.endswith(f"/{name}"))
    path = next(known, None)
    return home.deliveries / path if path else None


def moment(value: dt.datetime) -> str:
    """An aware moment as it stands in a file, in UTC."""
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds")


def _line(delivery: Delivery, id_type: str, id_: str) -> str:
    values = {
        "touch_id": delivery.touch_id,
        "id_type": id_type,
        "id": id_,
        "channel": delivery.channel,
        "status": delivery.status,
        "occurred_at": moment(delivery.occurred_at),
        **{name: value for name in _OPTIONAL if (value := getattr(delivery, name))},
    }
    return json.dumps(values, ensure_ascii=False) + "\n"


def _write(home: Home, file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    for folder in (home.deliveries, home.deliveries / TOUCHES, file.parent):
        folder.chmod(0o700)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(file)


def _identifiers(
    home: Home, settings: Settings, wanted: set[tuple[str, str]]
) -> Mapping[tuple[str, str], tuple[str, str]]:
    """Kind and identifier in clear by (id_type, key_hash)."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    keys = Keys(home.secret_key())
    with open_pair(home, settings, then="push again") as (session, _):
        session.execute("create temp table wanted (id_type varchar, id_hash varchar)")
        _fill(session, "wanted", wanted)
        # Only people who have a hash that is looked for: hashing all identifiers would take as long as making them.
        session.execute(
            """
            select distinct identifiers.id_type, identifiers.id
            from marts.main.user_identities as identities
            join wanted using (id_type, id_hash)
            join private.main.user_identifiers as identifiers
                on identifiers.user_id = identities.user_id and identifiers.id_type = identities.id_type
            """
        )
        for kind, id_ in _batches(session):
            key = (kind, keys.of_key(kind, id_))
            if key in wanted:
                found[key] = (kind, id_)
        if any(kind == USER_ID for kind, _ in wanted):
            found |= _of_users(session, wanted, keys)
    return found


def _of_users(
    session: duckdb.DuckDBPyConnection, wanted: set[tuple[str, str]], keys: Keys
) -> dict[tuple[str, str], tuple[str, str]]:
    """An identifier of each user who is meant by the id itself: the strongest kind, of it the one seen last."""
    session.execute("create temp table meant (user_id varchar, id_hash varchar)")
    session.execute(
        "select user_id, user_id from marts.main.user_wide "
        "union select user_id, current_user_id from marts.main.user_merges where kind = 'merge'"
    )
    users = [
        (now, key)
        for then, now in _batches(session)
        if (USER_ID, key := keys.of_key(USER_ID, then)) in wanted
    ]
    _fill(session, "meant", users)
    kinds = {kind: place for place, kind in enumerate(read_identifier_types(SEEDS_DIR))}
    session.execute(
        """
        select meant.id_hash, identifiers.id_type, identifiers.id
        from meant
        join private.main.user_identifiers as identifiers on identifiers.user_id = meant.user_id
        order by identifiers.last_seen_at desc nulls last, identifiers.id_type, identifiers.id
        """
    )
    best: dict[tuple[str, str], tuple[str, str]] = {}
    for key, kind, id_ in _batches(session):
        held = best.get((USER_ID, key))
        if held is None or kinds.get(kind, len(kinds)) < kinds.get(held[0], len(kinds)):
            best[USER_ID, key] = (kind, id_)
    return best


def _fill(session: duckdb.DuckDBPyConnection, table: str, rows: Iterable[tuple[str, str]]) -> None:
    """Two columns of short words into a table, at once: bound rows would come one by one."""
    pairs = list(rows)
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        session.execute(
            f"insert into {table} select unnest(?::varchar[]), unnest(?::varchar[])",
            [[one for one, _ in chunk], [other for _, other in chunk]],
        )


def _batches(session: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := session.fetchmany(_CHUNK):
        yield from rows
