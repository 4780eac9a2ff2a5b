"""Who may not be reached at this moment, by what has arrived up to now, published or not.

The published contact policy knows what had arrived when it was built. A withdrawal, an unsubscribe, a request to be erased
or the end of a contact that has arrived since then counts too: read from raw/, and from files that still lie in landing/
through the ordinary reader.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from orchestration.errors import IntakeError, JingxiError
from orchestration.home import Home
from orchestration.ingestion.contracts import TABLES_BY_NAME
from orchestration.ingestion.intake import take_in
from orchestration.ingestion.landing import LandingFile, discover
from orchestration.ingestion.registry import Registry, empty_file
from orchestration.ingestion.sources import landing_folder
from orchestration.publishing.identifiers import normalising_sql
from orchestration.publishing.pair import open_pair
from orchestration.settings import Settings

# Input tables that can end the permission to reach somebody.
TABLES = ("consents", "erasure_requests", "contacts", "touches")
_ALL_DAYS = dt.date.max


class ConsentError(JingxiError):
    """It cannot be read who withdrew the consent. Nothing is sent."""


class NewestConsents:
    """The newest consents of a home. Reads files only when there are others than before; not for several threads."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._stamp: object = None
        self._refused: dict[tuple[str, str, bool], Mapping[str, str]] = {}

    def refused(
        self, *, purpose: str, channel: str, needs_contact: bool, at: dt.datetime
    ) -> Mapping[str, str]:
        """user_id → rule of everybody who said no, or is no contact any more, by what has arrived up to now.

        The latest statement counts, on the channel or on all; at the same instant the one that says no. A grant counts
        from its own moment on and not before `at` (aware) has reached it, a withdrawal at once. Users who never said
        anything are not in it: they are the published policy's. Rules are those of contact_policy_decisions: erased,
        blocked, contact_deleted, unsubscribed, consent_withdrawn. Raises ConsentError when a file cannot be read.
        """
        stamp = self.stamp()
        if stamp != self._stamp:
            self._stamp, self._refused = stamp, {}
        key = (purpose.strip().lower(), channel.strip().lower(), needs_contact)
        if key not in self._refused:
            self._refused[key] = self._read(*key, at)
        return self._refused[key]

    def erased(self, at: dt.datetime) -> frozenset[str]:
        """Users of whom a request to be erased has arrived up to `at` (aware). Raises as `refused`."""
        with self.session(at) as session:
            _prepare_erased(session)
            return frozenset(user for (user,) in session.execute("select user_id from erased").fetchall())

    def stamp(self) -> object:
        """What tells that nothing has arrived since, without reading it."""
        files = []
        for path in (self._home.intake_registry, self._home.publication_manifest, *self._landing_paths()):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            files.append((str(path), found.st_size, found.st_mtime_ns, found.st_ino))
        return files

    def _landing_paths(self) -> list[Path]:
        folder = landing_folder(self._home)
        return sorted(
            Path(root) / name
            for table in TABLES
            for root, _, names in os.walk(folder / table)
            for name in names
        )

    def _read(self, purpose: str, channel: str, needs_contact: bool, at: dt.datetime) -> Mapping[str, str]:
        moment = at.astimezone(dt.UTC).replace(tzinfo=None)
        with self.session(at) as session:
            _prepare(session, purpose, channel, moment)
            return dict(session.execute(_REFUSED, {"needs_contact": needs_contact}).fetchall())

    @contextmanager
    def session(
        self, at: dt.datetime, *, touches_since: dt.date | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session with the published pair, a view of all that has arrived of each of TABLES, and the table `known`
        (id_type, id, user_id). Of touches what arrived after a day, by default that of the publication.

        Raises ConsentError, also for any duckdb.Error of the block.
        """
        try:
            with (
                self._landed(at) as landed,
                open_pair(self._home, self._settings, then="push again") as (session, publication),
            ):
                for table in TABLES:
                    self._view(session, table, landed.get(table, ()), touches_since or publication.as_of)
                session.execute(
                    "create temp table known as select id_type, id, user_id from private.main.user_identifiers"
                )
                yield session
        except duckdb.Error as error:
            # The engine's own text may hold values of records: it is not repeated.
            raise ConsentError(
                f"The newest consents and messages of {self._home.path} cannot be read ({type(error).__name__}); nothing "
                "is sent."
            ) from None

    def _view(
        self, session: duckdb.DuckDBPyConnection, table: str, landed: Sequence[Path], since: dt.date
    ) -> None:
        registry = Registry(self._home)
        if table == "touches":
            arrived = registry.arrived_files(_ALL_DAYS, since=since)
        else:
            arrived = registry.visible_files(_ALL_DAYS)
        files = [empty_file(self._home, TABLES_BY_NAME[table]), *arrived.get(table, ()), *landed]
        listed = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
        session.execute(
            f"create temp view {table} as select * from read_parquet([{listed}], union_by_name = true)"
        )

    @contextmanager
    def _landed(self, at: dt.datetime) -> Iterator[Mapping[str, Sequence[Path]]]:
        """Files of accepted rows by table, of what lies in the landing folder and was not taken in yet."""
        new = self._not_taken_in()
        if not new:
            yield {}
            return
        self._home.temp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._home.temp, prefix="consent-") as folder:
            aside, scratch = Path(folder) / "landing", Home(Path(folder) / "home")
            for file in new:
                target = aside / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(file.path, target)
            scratch.create()
            try:
                take_in(scratch, self._settings, aside, now=at, business_day=self._settings.business_day(at))
            except IntakeError as error:
                raise ConsentError(
                    f"Who withdrew the consent cannot be read, so nothing is sent: {error}"
                ) from error
            yield Registry(scratch).visible_files(_ALL_DAYS)

    def _not_taken_in(self) -> list[LandingFile]:
        folder = landing_folder(self._home)
        if not folder.is_dir():
            return []
        known = Registry(self._home).fingerprints()
        new = []
        for file in discover(folder):
            if file.table.name not in TABLES:
                continue
            before, now = known.get(str(file.path.absolute())), file.path.stat()
            if before is None or (before.size, before.mtime_ns) != (now.st_size, now.st_mtime_ns):
                new.append(file)
        return new


def refusals(
    home: Home, settings: Settings, user_ids: Sequence[str], *, purpose: str, channel: str, at: dt.datetime
) -> dict[str, str]:
    """user_id → rule of those of the users who may not be reached at this moment. Raises as `NewestConsents.refused`.

    A user of whom nothing says no is not in it. Asked often, keep a NewestConsents instead.
    """
    refused = NewestConsents(home, settings).refused(
        purpose=purpose, channel=channel, needs_contact=False, at=at
    )
    return {user: refused[user] for user in user_ids if user in refused}


def _copy(source: Path, target: Path) -> None:
    """The same bytes under another name; a second name for the file itself where the file system allows it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _prepare(session: duckdb.DuckDBPyConnection, purpose: str, channel: str, moment: dt.datetime) -> None:
    """What has been said and what has ended, by user, as tables of the session."""
    session.execute(
        f"""
        create temp table said as
        with versions as (
            select *, row_number() over (
                partition by id_type, id, purpose, channel, changed_at
                order by _arrived_on desc, _taken_in_at desc, _record desc
            ) as version
            from consents
            where lower(trim(purpose)) = $purpose and lower(trim(channel)) in ($channel, 'all')
        ),
        statements as (
            select id_type, id, coalesce(lower(trim(status)) = 'granted', false) as is_granted, changed_at as said_at,
                'consent_withdrawn' as rule
            from versions where version = 1
            union all
            select id_type, id, false, occurred_at, 'unsubscribed'
            from touches
            where lower(trim(status)) = 'unsubscribed' and lower(trim(channel)) = $channel and $purpose = 'marketing'
        )
        select known.user_id, statements.is_granted, statements.said_at, statements.rule
        from statements
        join known
            on known.id_type = lower(trim(statements.id_type))
            and known.id = {normalising_sql("statements.id_type", "statements.id")}
        where not statements.is_granted or statements.said_at <= $moment
        """,
        {"purpose": purpose, "channel": channel, "moment": moment},
    )
    _prepare_erased(session)


def _prepare_erased(session: duckdb.DuckDBPyConnection) -> None:
    """The table `erased` (user_id)."""
    session.execute(
        f"""
        create temp table erased as
        select distinct known.user_id
        from erasure_requests
        join known
            on known.id_type = lower(trim(erasure_requests.id_type))
            and known.id = {normalising_sql("erasure_requests.id_type", "erasure_requests.id")}
        """
    )


# A relation that was added again after its end goes on, as in int_users__contacts.
_REFUSED = """
with relations as (
    select *, row_number() over (
        partition by contact_id, staff_id order by _arrived_on desc, _taken_in_at desc, _record desc
    ) as version
    from contacts
    where $needs_contact
),
ended as (
    select
        known.user_id,
        case
            when coalesce(max(blocked_at) >= max(added_at), false) then 'blocked'
            when not bool_or(deleted_at is null or deleted_at < added_at) then 'contact_deleted'
        end as rule
    from relations
    join known on known.id_type = 'contact_id' and known.id = trim(relations.contact_id)
    where version = 1
    group by known.user_id
),
latest as (
    select user_id, is_granted, rule, row_number() over (
        partition by user_id order by said_at desc, is_granted asc, rule desc
    ) as place
    from said
),
refusals as (
    select user_id, 1 as rank, 'erased' as rule from erased
    union all
    select user_id, 2, rule from ended where rule is not null
    union all
    select user_id, 3, rule from latest where place = 1 and not is_granted
)
select user_id, arg_min(rule, rank) from refusals group by user_id
"""
