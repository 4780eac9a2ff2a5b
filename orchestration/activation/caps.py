"""Who has got as many messages as a cap allows, by what was sent up to this moment.

The published contact policy gives places by the messages that it knew when it was built. What the ledger accepted since
then, by whichever line and from whichever build, and messages that other systems report meanwhile fill places too: they are
counted once more at the moment of sending.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from orchestration.activation.consent import NewestConsents
from orchestration.activation.ledger import Ledger, LineKey, Message
from orchestration.activation.lines import Line
from orchestration.activation.payload import Keys
from orchestration.publishing.identifiers import normalising_sql
from orchestration.settings import Settings
from orchestration.specs.contact_rules import ContactCap, ContactRules

USER_ID = "user_id"
# A message may be opened long after it was sent, and counts on the day on which it was sent.
_ANSWERED_WITHIN = dt.timedelta(days=31)
_CHUNK = 50_000


class NewestMessages:
    """Counts messages of a home for the caps of one line after the other. Not for several threads."""

    def __init__(
        self,
        settings: Settings,
        consents: NewestConsents,
        ledger: Ledger,
        keys: Keys,
        lines: Iterable[Line],
        rules: ContactRules,
        caps: Sequence[ContactCap],
    ) -> None:
        self._settings, self._consents, self._ledger, self._keys = settings, consents, ledger, keys
        self._lines = {
            line.ledger_key: line for line in lines if rules.rule(line.channel, line.purpose).disturbs
        }
        self._names = {line.activation: line for line in self._lines.values()}
        self._caps = caps
        self._known: dict[str, tuple[object, Mapping[str, str]]] = {}

    def full(self, activation: str, at: dt.datetime) -> Mapping[str, str]:
        """user_id → name of a cap of everybody who has no place left for a message of a line at `at` (aware).

        Reads anew only when something was sent or has arrived since, or another day has begun. A line that nobody notices
        needs no place. Raises ConsentError, LedgerError.
        """
        line = self._names.get(activation)
        if line is None:
            return {}
        caps = [cap for cap in self._caps if cap.holds_for(line.channel, line.purpose)]
        if not caps:
            return {}
        key = line.ledger_key
        day = self._settings.business_day(at)
        since = self._start(min(cap.first_day(day) for cap in caps))
        stamp = (day, self._consents.stamp(), self._ledger.messages_stamp(key, since))
        if activation not in self._known or self._known[activation][0] != stamp:
            self._known[activation] = (stamp, self._count(key, caps, day, since, at))
        return self._known[activation][1]

    def _start(self, day: dt.date) -> dt.datetime:
        return dt.datetime.combine(day, dt.time(), self._settings.zone)

    def _count(
        self, key: LineKey, caps: Sequence[ContactCap], day: dt.date, since: dt.datetime, at: dt.datetime
    ) -> Mapping[str, str]:
        with self._consents.session(at, touches_since=(since - _ANSWERED_WITHIN).date()) as session:
            session.execute(
                "create temp table told (id_type varchar, id_hash varchar, channel varchar, touch_id varchar, moment timestamp)"
            )
            _fill(session, "told", self._told(self._ledger.messages(key, since)))
            session.execute("create temp table users (id_hash varchar, user_id varchar)")
            if session.execute("select 1 from told where id_type = ? limit 1", [USER_ID]).fetchone():
                _fill(session, "users", self._hashed(session))
            session.execute(
                "create temp table caps (cap varchar, channel varchar, since timestamp, max_sends bigint)"
            )
            starts = ((cap, _utc(self._start(cap.first_day(day)))) for cap in caps)
            _fill(session, "caps", ((cap.cap, cap.channel, start, cap.limit(day)) for cap, start in starts))
            return dict(session.execute(_FULL).fetchall())

    def _told(self, messages: Iterable[Message]) -> Iterable[tuple[object, ...]]:
        for one in messages:
            line = self._lines.get(one.line)
            if line is not None:
                channel = line.channel.strip().lower()
                yield line.key, one.key_hash, channel, one.touch_id, _utc(one.at)

    def _hashed(self, session: duckdb.DuckDBPyConnection) -> Iterable[tuple[object, ...]]:
        """Whom a keyed hash of a user_id means today."""
        found = session.cursor().execute(
            "select user_id, user_id from marts.main.user_wide "
            "union select user_id, current_user_id from marts.main.user_merges where kind = 'merge'"
        )
        while rows := found.fetchmany(_CHUNK):
            for then, now in rows:
                yield self._keys.of_key(USER_ID, then), now


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(tzinfo=None)


def _fill(session: duckdb.DuckDBPyConnection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Rows into a table, many at once: bound rows would come one by one."""
    waiting: list[tuple[object, ...]] = []

    def write() -> None:
        columns = [list(column) for column in zip(*waiting, strict=True)]
        session.execute(f"insert into {table} select {', '.join(['unnest(?)'] * len(columns))}", columns)
        waiting.clear()

    for row in rows:
        waiting.append(row)
        if len(waiting) == _CHUNK:
            write()
    if waiting:
        write()


_SENT = "('sent', 'delivered', 'opened', 'clicked', 'replied', 'converted')"
# A message is one (user, channel, touch_id), as in contact_policy_decisions: it counts on the first day that proves that
# it went out; one that was planned, or that the ledger knows, counts unless it failed.
_FULL = f"""
with reached as (
    select known.user_id, lower(trim(touches.channel)) as channel, touches.touch_id, lower(trim(touches.status)) as status,
        touches.occurred_at as moment
    from touches
    join known on known.id_type = lower(trim(touches.id_type)) and known.id = {normalising_sql("touches.id_type", "touches.id")}
    union all
    select coalesce(users.user_id, identities.user_id), told.channel, told.touch_id, 'planned', told.moment
    from told
    left join users on told.id_type = 'user_id' and users.id_hash = told.id_hash
    left join marts.main.user_identities as identities
        on identities.id_type = told.id_type and identities.id_hash = told.id_hash
),
messages as (
    select user_id, channel, touch_id,
        coalesce(min(moment) filter (where status in {_SENT}), min(moment) filter (where status = 'planned')) as moment
    from reached
    where user_id is not null
    group by user_id, channel, touch_id
    having bool_or(status in {_SENT}) or (bool_or(status = 'planned') and not bool_or(status = 'failed'))
),
used as (
    select messages.user_id, caps.cap, caps.max_sends, count(*) as sends
    from messages
    join caps on caps.channel in (messages.channel, '*') and messages.moment >= caps.since
    group by all
)
select user_id, min(cap) from used where sends >= max_sends group by user_id
"""
