"""WeCom corp tags: what a member sees at a customer.

A record is a customer (key: external_userid). Each field is a tag group, its value the tag (or tags) of that group;
`options: {group: …, tag: …}` marks with one constant tag. The field `userid`, when declared, names the member (or
members) at whose customer the tags are set; without it every declared member who follows the customer is found.

A group that is a field belongs to this system: another tag of it at the same customer is taken off. Of `options.group`
only `options.tag` is ever touched. Tags of other groups are never touched.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pydantic import Field

from orchestration.destinations import wecom_client as codes
from orchestration.destinations.clock import Clock
from orchestration.destinations.errors import (
    ConfigurationError,
    DestinationError,
    Halted,
    NotSent,
    OutcomeUnknown,
    RunFailed,
    Throttled,
)
from orchestration.destinations.outcomes import as_texts, together
from orchestration.destinations.pacing import Workers
from orchestration.destinations.protocol import (
    Accepted,
    Batch,
    Capabilities,
    Deferred,
    Finding,
    InDoubt,
    Outcome,
    Record,
    Rejected,
    RunInfo,
)
from orchestration.destinations.registry import Surroundings
from orchestration.destinations.wecom_client import ApiError, WeComClient, WeComSettings

MEMBER_FIELD = "userid"
MEMBERS_A_CALL = 50
CUSTOMERS_A_PAGE = 100
NAME_CHARACTERS = 30
CORP_TAGS = 3_000
PAIR_TAGS = 3_000
_TRIES = 4
_QUOTA_PAUSES = 90
_CONCURRENCY_TRIES = 20
_SAME_UNKNOWN_CODE = 20


class WeComTagsSettings(WeComSettings):
    """`members`: userids whose customers may be tagged."""

    members: tuple[str, ...] = Field(min_length=1)
    batch_size: int = Field(default=500, ge=1, le=5_000)


class WeComTags:
    """Destination of kind `wecom_tags`."""

    Settings = WeComTagsSettings

    def __init__(self, name: str, settings: WeComTagsSettings, surroundings: Surroundings) -> None:
        self.name = name
        self._settings = settings
        self._clock = surroundings.clock
        self.capabilities = Capabilities(
            idempotent=True, removes=True, reconciles=False, batch_size=settings.batch_size
        )

    def check(self) -> None:
        """See that the app may list the corp's tags. Raises DestinationError."""
        client = WeComClient(self._settings, self._clock)
        try:
            client.check()
            _Catalogue(client).load()
        finally:
            client.close()

    def open(self, run: RunInfo) -> WeComTagsSession:
        """Begin. Raises DestinationError."""
        return WeComTagsSession(self._settings, self._clock, run)


@dataclass(frozen=True, repr=False)
class _Job:
    """One mark_tag: one member, one customer."""

    record: int
    member: str
    customer: str
    add: tuple[str, ...]
    remove: tuple[str, ...]


@dataclass(repr=False)
class _Wanted:
    """Tags by group and name that a record shall have, and groups of which it shall have no other."""

    tags: set[tuple[str, str]] = field(default_factory=set)
    refused: str = ""


class WeComTagsSession:
    """One attempt at a run."""

    def __init__(self, settings: WeComTagsSettings, clock: Clock, run: RunInfo) -> None:
        self._settings = settings
        self._clock = clock
        self._groups = tuple(name for name in run.fields if name != MEMBER_FIELD)
        self._constant = _constant(run)
        if not self._groups and self._constant is None:
            raise ConfigurationError(
                "no_tag", "Declare a tag group under fields, or options group and tag, for WeCom tags."
            )
        for group in self._groups:
            if len(group) > NAME_CHARACTERS:
                raise ConfigurationError(
                    "group_name_too_long", "A WeCom tag group's name has at most 30 characters."
                )
        self._client = WeComClient(settings, clock)
        self._catalogue = _Catalogue(self._client)
        self._pairs = _Pairs(self._client, settings.members)
        self._workers = Workers(settings.workers)
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="wecom-tags")
        self._failure: DestinationError | None = None
        self._lock = threading.Lock()
        self._tried = False
        self._unknown: tuple[int, int] = (0, 0)

    def send(self, batch: Batch) -> Sequence[Outcome]:
        """Set and take off tags, one call per member and customer; none where the tags are right already.

        Waits for quota in the middle of a batch. Raises RunFailed, NotSent or OutcomeUnknown when nothing of the batch
        was taken.
        """
        self._raise_failure()
        if not batch.records:
            return []
        outcomes: list[Outcome | None] = [None] * len(batch.records)
        wanted = [self._wanted(record) for record in batch.records]
        self._catalogue.load()
        self._make_missing(wanted)
        done = self._mark(batch.records, wanted, range(len(batch.records)), outcomes)
        stale = [at for at, parts in done.items() if Rejected(f"errcode_{codes.BAD_TAG}") in parts]
        if stale and self._failure is None:  # a tag was deleted since it was listed: look again, once
            self._catalogue.forget()
            self._catalogue.load()
            self._make_missing([wanted[at] for at in stale])
            done |= self._mark(batch.records, wanted, stale, outcomes)
        for at, parts in done.items():
            outcomes[at] = together(parts)
        final = [own if own is not None else Accepted() for own in outcomes]
        if self._failure is not None and not any(isinstance(own, Accepted | InDoubt) for own in final):
            self._raise_failure()
        return final

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        """Not needed: setting a tag again has no further effect."""
        return [InDoubt("replay_instead") for _ in batch.records]

    def finish(self) -> None:
        """Raises the error that ended the last batch early, if one did."""
        self._raise_failure()

    def close(self) -> None:
        """Stop the threads, close connections, forget the pairs."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pairs.close()
        self._client.close()

    # --- what is wanted ---

    def _wanted(self, record: Record) -> _Wanted:
        wanted = _Wanted()
        if record.operation == "remove":
            return wanted
        if self._constant is not None:
            wanted.tags.add(self._constant)
        for group in self._groups:
            names = as_texts(record.fields.get(group))
            if names is None:
                wanted.refused = "tag_not_text"
            elif any(len(own) > NAME_CHARACTERS for own in names):
                wanted.refused = "tag_name_too_long"
            else:
                wanted.tags.update((group, own) for own in names)
        return wanted

    def _make_missing(self, wanted: Iterable[_Wanted]) -> None:
        names = {own for entry in wanted if not entry.refused for own in entry.tags}
        self._catalogue.make(sorted(names - self._catalogue.names.keys()))

    def _managed(self) -> set[str]:
        """Ids of the tags that this run may take off."""
        managed = {own for (group, _), own in self._catalogue.names.items() if group in self._groups}
        if self._constant is not None and self._constant in self._catalogue.names:
            managed.add(self._catalogue.names[self._constant])
        return managed

    # --- marking ---

    def _mark(
        self,
        records: Sequence[Record],
        wanted: Sequence[_Wanted],
        chosen: Iterable[int],
        outcomes: list[Outcome | None],
    ) -> dict[int, list[Outcome]]:
        """Outcomes of the calls by record; records that need no call get theirs at once."""
        managed = self._managed()
        done: dict[int, list[Outcome]] = {}
        jobs: list[_Job] = []
        for at in chosen:
            record = records[at]
            if wanted[at].refused:
                outcomes[at] = Rejected(wanted[at].refused)
                continue
            goal = {self._catalogue.names[own] for own in wanted[at].tags}
            members = as_texts(record.fields.get(MEMBER_FIELD)) if record.operation == "upsert" else []
            if members is None:
                outcomes[at] = Rejected("member_not_text")
            elif members:
                # Set semantics: taking off what is not there does nothing, so no state needs to be read.
                own = [
                    _Job(at, m, record.key, tuple(sorted(goal)), tuple(sorted(managed - goal)))
                    for m in members
                ]
                jobs += [job for job in own if job.add or job.remove]
                outcomes[at] = Accepted()
            else:
                outcomes[at] = self._diff(at, record, goal, managed, jobs)
        if jobs and not self._tried:
            # The first call alone: an address or scope that is not allowed costs one call, not one per worker.
            self._tried = True
            first = jobs.pop(0)
            done.setdefault(first.record, []).append(self._one(first))
        for job, outcome in zip(jobs, self._pool.map(self._one, jobs), strict=True):
            done.setdefault(job.record, []).append(outcome)
        return done

    def _diff(self, at: int, record: Record, goal: set[str], managed: set[str], jobs: list[_Job]) -> Outcome:
        """Add the calls that bring each member's tags of this customer to the goal."""
        found = self._pairs.of(record.key)
        if not found and record.operation == "upsert":
            return Rejected("no_member_follows")
        for member, tags in found:
            add, remove = goal - tags, (tags & managed) - goal
            if len(tags) + len(add) - len(remove) > PAIR_TAGS:
                return Rejected("too_many_tags_at_customer")
            if add or remove:
                jobs.append(_Job(at, member, record.key, tuple(sorted(add)), tuple(sorted(remove))))
        return Accepted()

    def _one(self, job: _Job) -> Outcome:
        """Make the call, patiently; never raises a DestinationError."""
        tries = quota = crowded = 0
        body = {"userid": job.member, "external_userid": job.customer}
        if job.add:
            body |= {"add_tag": list(job.add)}  # type: ignore[dict-item]
        if job.remove:
            body |= {"remove_tag": list(job.remove)}  # type: ignore[dict-item]
        while True:
            if self._failure is not None:
                return Deferred(self._failure.code)
            errcode = 0
            outcome: Outcome = Accepted()
            with self._workers.one() as seen:
                try:
                    self._client.post("mark_tag", body, idempotent=True)
                except ApiError as error:
                    errcode = error.errcode
                except Throttled as error:
                    quota += 1
                    self._client.pacer("mark_tag").pause(error.retry_after or 60.0)
                    if quota < _QUOTA_PAUSES:
                        continue
                    outcome = Deferred(error.code)
                except (OutcomeUnknown, NotSent) as error:
                    tries += 1
                    if tries == _TRIES:
                        return self._give_up(error)
                    outcome = InDoubt(error.code)
                except RunFailed as error:
                    self._fail(error)
                    return Deferred(error.code)
            if errcode == codes.CONCURRENCY and crowded < _CONCURRENCY_TRIES:
                crowded += 1
                self._workers.halve(seen)
                self._clock.sleep(0.05 * crowded)
            elif errcode in {codes.BUSY, codes.CONFLICT} and tries < _TRIES - 1:
                tries += 1
                self._clock.sleep(0.5 * 2**tries)
            elif isinstance(outcome, InDoubt):
                self._clock.sleep(0.5 * 2**tries)
            else:
                return self._judge(errcode) if errcode else self._succeeded(outcome)

    def _succeeded(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Accepted):
            self._unknown = (0, 0)
        return outcome

    def _judge(self, errcode: int) -> Outcome:
        code = f"errcode_{errcode}"
        if errcode == codes.BUSY:
            return InDoubt(code)
        if errcode in {codes.CONCURRENCY, codes.CONFLICT}:
            return Deferred(code)
        if errcode not in codes.BAD_ROW and errcode != codes.BAD_TAG:
            with self._lock:
                known, times = self._unknown
                self._unknown = (errcode, times + 1 if known == errcode else 1)
            if self._unknown[1] >= _SAME_UNKNOWN_CODE:
                self._fail(Halted(code, "WeCom answers every call with a code that is not known here."))
        return Rejected(code)

    def _give_up(self, error: DestinationError) -> Outcome:
        """After the last try: a connection that cannot be made ends the batch for all."""
        if isinstance(error, NotSent):
            self._fail(error)
            return Deferred(error.code)
        return InDoubt(error.code)

    def _fail(self, error: DestinationError) -> None:
        with self._lock:
            if self._failure is None:
                self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        failure = self._failure
        if not isinstance(failure, RunFailed):
            self._failure = None  # the network may be back at the next batch
        raise failure


class _Catalogue:
    """The corp's tags by (group, name)."""

    def __init__(self, client: WeComClient) -> None:
        self._client = client
        self._loaded = False
        self.names: dict[tuple[str, str], str] = {}
        self._group_ids: dict[str, str] = {}

    def forget(self) -> None:
        self._loaded = False

    def load(self) -> None:
        """List the tags, once. Raises DestinationError."""
        if self._loaded:
            return
        with codes.judged("WeCom does not list the corp's tags."):
            answer = self._client.patient_post("get_corp_tag_list", {"tag_id": [], "group_id": []})
        self.names, self._group_ids = {}, {}
        for group in answer.get("tag_group") or []:
            self._take(group)
        self._loaded = True

    def make(self, missing: Sequence[tuple[str, str]]) -> None:
        """Make tags that are not there, one call per group. Raises DestinationError."""
        if not missing:
            return
        if len(self.names) + len(missing) > CORP_TAGS:
            raise ConfigurationError(
                "too_many_corp_tags",
                f"A corp has at most {CORP_TAGS} tags: delete some, or send fewer values.",
            )
        for group in dict.fromkeys(group for group, _ in missing):
            self._make(group, [own for its, own in missing if its == group])
        left = [own for own in missing if own not in self.names]
        if left:
            raise OutcomeUnknown("tag_not_made")

    def _make(self, group: str, names: Sequence[str]) -> None:
        place = {"group_id": self._group_ids[group]} if group in self._group_ids else {"group_name": group}
        body = {**place, "tag": [{"name": own} for own in names]}
        answer: Mapping[str, object] = {}
        try:
            answer = self._client.patient_post("add_corp_tag", body)
        except ApiError as error:
            problem = error.errcode
        else:
            problem = 0
        if problem == codes.NAME_EXISTS:
            # Made by somebody else, or by the try before whose answer was lost: the list tells.
            self.forget()
            self.load()
            left = [own for own in names if (group, own) not in self.names]
            if left and len(left) < len(names):
                self._make(group, left)
        elif problem == codes.NAME_LENGTH:
            raise ConfigurationError("errcode_40072", "A tag's or group's name is too long for WeCom.")
        elif problem:
            raise ConfigurationError(f"errcode_{problem}", "WeCom does not let the missing tags be made.")
        else:
            made = answer.get("tag_group")
            self._take(made if isinstance(made, Mapping) else {})

    def _take(self, group: Mapping[str, object]) -> None:
        title = str(group.get("group_name", ""))
        self._group_ids[title] = str(group.get("group_id", ""))
        tags = group.get("tag")
        for own in tags if isinstance(tags, list) else []:
            if not own.get("deleted"):
                self.names[title, str(own["name"])] = str(own["id"])


class _Pairs:
    """Which members follow a customer and the tags they see there, read once, kept on disk (memory stays bounded)."""

    def __init__(self, client: WeComClient, members: Sequence[str]) -> None:
        self._client = client
        self._members = tuple(dict.fromkeys(members))
        self._database: sqlite3.Connection | None = None

    def of(self, customer: str) -> list[tuple[str, set[str]]]:
        """(member, ids of tags) of a customer. Raises DestinationError when the walk fails."""
        if self._database is None:
            self._database = self._walk()
        rows = self._database.execute(
            "select member, tags from pairs where customer = ? order by member", (customer,)
        )
        return [(member, set(tags.split()) if tags else set()) for member, tags in rows]

    def close(self) -> None:
        """Remove the temporary database."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _walk(self) -> sqlite3.Connection:
        database = sqlite3.connect("")  # a nameless file, gone with the connection
        database.execute("pragma journal_mode = off")
        database.execute(
            "create table pairs (customer text, member text, tags text, primary key (customer, member)) without rowid"
        )
        try:
            for start in range(0, len(self._members), MEMBERS_A_CALL):
                members = list(self._members[start : start + MEMBERS_A_CALL])
                body = {"userid_list": members, "limit": CUSTOMERS_A_PAGE}
                pages = self._client.pages("batch/get_by_user", body, "external_contact_list")
                with codes.judged("A userid under members does not exist at WeCom."):
                    _store(database, pages)
            database.commit()
        except BaseException:
            database.close()
            raise
        return database


def _store(database: sqlite3.Connection, entries: Iterable[Mapping[str, Mapping[str, object]]]) -> None:
    for entry in entries:
        follow = entry.get("follow_info") or {}
        tags = follow.get("tag_id")
        database.execute(
            "insert or replace into pairs values (?, ?, ?)",
            (
                str((entry.get("external_contact") or {}).get("external_userid", "")),
                str(follow.get("userid", "")),
                " ".join(str(own) for own in tags) if isinstance(tags, list) else "",
            ),
        )


def _constant(run: RunInfo) -> tuple[str, str] | None:
    group, tag = run.options.get("group"), run.options.get("tag")
    if group is None and tag is None:
        return None
    if not (isinstance(group, str) and isinstance(tag, str) and group and tag):
        raise ConfigurationError("no_tag", "options need both group and tag, each a text.")
    if len(group) > NAME_CHARACTERS or len(tag) > NAME_CHARACTERS:
        raise ConfigurationError("tag_name_too_long", "Names of WeCom tags have at most 30 characters.")
    return group, tag
