"""WeCom mass messages: a task per member, who must confirm it before anything is sent.

A record is a customer (key: external_userid), its field `sender` the member who shall send; `options: {text: …,
attachments: […]}` is the message, the same for all. Accepted means that the task exists: what was really sent is told
by `answers`, later.

Making a task is not idempotent. After a lost answer the member's tasks are listed and their customers read.
A call never has an empty list of customers: with a sender given, WeCom takes that for every customer of the member.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, JsonValue

from orchestration.destinations import wecom_client as codes
from orchestration.destinations.clock import Clock
from orchestration.destinations.errors import (
    ConfigurationError,
    DestinationError,
    NotSent,
    OutcomeUnknown,
    RunFailed,
    Throttled,
)
from orchestration.destinations.protocol import (
    Accepted,
    Answer,
    Batch,
    Capabilities,
    Deferred,
    Finding,
    InDoubt,
    NotReceived,
    Outcome,
    Record,
    Rejected,
    RunInfo,
)
from orchestration.destinations.registry import Surroundings
from orchestration.destinations.wecom_client import ApiError, WeComClient, WeComSettings

SENDER_FIELD = "sender"
CUSTOMERS_A_CALL = 10_000
TEXT_BYTES = 4_000
ATTACHMENTS = 9
WINDOW = dt.timedelta(days=30)
_CLOCK_SLACK = dt.timedelta(minutes=5)
_PAGE = 100
_RESULTS_PAGE = 500
_QUOTA_PAUSES = 3

# Not a friend any more; got another mass message already. 0 waits for the member.
_STATUS: Mapping[int, Literal["sent", "failed"]] = {1: "sent", 2: "failed", 3: "failed"}


class WeComMessagesSettings(WeComSettings):
    """`settle_seconds`: after a lost answer, how long WeCom may take until its lists tell."""

    batch_size: int = Field(default=CUSTOMERS_A_CALL, ge=1, le=CUSTOMERS_A_CALL)
    settle_seconds: float = Field(default=60.0, ge=0)


class WeComMessages:
    """Destination of kind `wecom_messages`."""

    Settings = WeComMessagesSettings

    def __init__(self, name: str, settings: WeComMessagesSettings, surroundings: Surroundings) -> None:
        self.name = name
        self._settings = settings
        self._clock = surroundings.clock
        self.capabilities = Capabilities(
            idempotent=False,
            removes=False,
            reconciles=True,
            batch_size=settings.batch_size,
            required_fields=frozenset({SENDER_FIELD}),
            answers=True,
        )

    def check(self) -> None:
        """See that the app may list mass messages. Raises DestinationError."""
        client = WeComClient(self._settings, self._clock)
        try:
            client.check()
            now = self._clock.now()
            _first(_messages(client, now - dt.timedelta(minutes=1), now, creator=None))
        finally:
            client.close()

    def open(self, run: RunInfo) -> WeComMessagesSession:
        """Begin; no call. Raises ConfigurationError."""
        return WeComMessagesSession(self._settings, self._clock, run)

    def answers(self, since: dt.datetime, until: dt.datetime) -> Iterator[Answer]:
        """Messages that members sent, and those that could not be sent, of all tasks made in this time.

        Tasks that were made a moment ago tell nothing yet and are left out. Raises DestinationError.
        """
        client = WeComClient(self._settings, self._clock)
        try:
            for own in _messages(client, since, until, creator=None):
                made_at = dt.datetime.fromtimestamp(int(own["create_time"]), dt.UTC)
                try:
                    for told in _customers(client, str(own["msgid"]), str(own["creator"])):
                        answer = _answer(told, str(own["creator"]), made_at)
                        if answer is not None:
                            yield answer
                except _TooEarly:
                    continue
        finally:
            client.close()


class WeComMessagesSession:
    """One attempt at a run."""

    def __init__(self, settings: WeComMessagesSettings, clock: Clock, run: RunInfo) -> None:
        self._settings = settings
        self._clock = clock
        self._started_at = run.started_at
        self._text, self._attachments = _message(run)
        self._client = WeComClient(settings, clock)
        self._unknown_since = clock.now()
        self._failure: DestinationError | None = None

    def send(self, batch: Batch) -> Sequence[Outcome]:
        """Make a task per member. Raises RunFailed or NotSent when nothing of the batch was taken."""
        if self._failure is not None:
            raise self._failure
        outcomes: list[Outcome] = [Rejected("sender_missing") for _ in batch.records]
        for sender, positions in _by_sender(batch.records).items():
            for start in range(0, len(positions), CUSTOMERS_A_CALL):
                self._make(sender, batch.records, positions[start : start + CUSTOMERS_A_CALL], outcomes)
        failure = self._failure
        if failure is not None and not any(isinstance(own, Accepted | InDoubt) for own in outcomes):
            if not isinstance(failure, RunFailed):
                self._failure = None
            raise failure
        return outcomes

    def reconcile(self, batch: Batch) -> Sequence[Finding]:
        """Look for the customers in the tasks that their member was given since the run began. Raises DestinationError."""
        waited = (self._clock.now() - self._unknown_since).total_seconds()
        self._clock.sleep(self._settings.settle_seconds - waited)
        findings: list[Finding] = [Rejected("sender_missing") for _ in batch.records]
        for sender, positions in _by_sender(batch.records).items():
            there, is_certain = self._customers_of(sender)
            for at in positions:
                if batch.records[at].key in there:
                    findings[at] = Accepted()
                else:
                    findings[at] = NotReceived() if is_certain else InDoubt("errcode_41063")
        return findings

    def finish(self) -> None:
        """Raises the error that ended the last batch early, if one did."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    # --- making ---

    def _make(
        self, sender: str, records: Sequence[Record], positions: Sequence[int], outcomes: list[Outcome]
    ) -> None:
        """Make one task and write the outcomes; a refusal because of single customers is halved."""
        if not positions:
            return
        if self._failure is not None:
            for at in positions:
                outcomes[at] = Deferred(self._failure.code)
            return
        customers = [records[at].key for at in positions]
        try:
            refused = self._post(sender, customers)
        except ApiError as error:
            if error.errcode in codes.BAD_ROW - {40003, 60111} and len(positions) > 1:
                middle = len(positions) // 2
                self._make(sender, records, positions[:middle], outcomes)
                self._make(sender, records, positions[middle:], outcomes)
                return
            for at in positions:
                outcomes[at] = self._judge(error)
        except OutcomeUnknown as error:
            self._unknown_since = self._clock.now()
            for at in positions:
                outcomes[at] = InDoubt(error.code)
        except DestinationError as error:
            if isinstance(error, RunFailed | NotSent):
                self._failure = error
            for at in positions:
                outcomes[at] = Deferred(error.code)
        else:
            for at in positions:
                outcomes[at] = Rejected("not_sendable") if records[at].key in refused else Accepted()

    def _post(self, sender: str, customers: Sequence[str]) -> set[str]:
        """Customers that WeCom names as failed. Raises ApiError, DestinationError."""
        if not customers or not sender:
            raise ConfigurationError("empty_list", "A mass message without customers would go to everybody.")
        body: dict[str, Any] = {
            "chat_type": "single",
            "external_userid": list(customers),
            "sender": sender,
            **({"text": {"content": self._text}} if self._text else {}),
            **({"attachments": self._attachments} if self._attachments else {}),
        }
        for left in range(_QUOTA_PAUSES, -1, -1):
            try:
                answer = self._client.post("add_msg_template", body, idempotent=False)
            except Throttled as error:
                if not left:
                    raise
                self._client.pacer("add_msg_template").pause(error.retry_after or 60.0)
            except ApiError as error:
                if error.errcode not in {codes.CONCURRENCY, codes.CONFLICT} or not left:
                    raise
                self._clock.sleep(1.0)
            else:
                failed = answer.get("fail_list")
                return {str(own) for own in failed} if isinstance(failed, list) else set()
        raise AssertionError("unreachable")

    def _judge(self, error: ApiError) -> Outcome:
        if error.errcode == codes.BUSY:
            self._unknown_since = self._clock.now()
            return InDoubt(error.code)
        if error.errcode in {codes.CONCURRENCY, codes.CONFLICT}:
            return Deferred(error.code)
        return Rejected(error.code)

    # --- reconciling ---

    def _customers_of(self, sender: str) -> tuple[set[str], bool]:
        """Customers in this message's tasks of the member since the run began, and whether all tasks could be read."""
        there: set[str] = set()
        is_certain = True
        start = self._started_at - _CLOCK_SLACK
        for own in _messages(self._client, start, self._clock.now() + _CLOCK_SLACK, creator=sender):
            text = own.get("text")
            if isinstance(text, dict) and str(text.get("content") or "") != self._text:
                continue
            try:
                there.update(
                    str(told.get("external_userid", ""))
                    for told in _customers(self._client, str(own["msgid"]), sender)
                )
            except _TooEarly:
                is_certain = False
        return there, is_certain


class _TooEarly(Exception):
    """41063: the task was made a moment ago."""


def _messages(
    client: WeComClient, since: dt.datetime, until: dt.datetime, *, creator: str | None
) -> Iterator[dict[str, Any]]:
    """Tasks made in this time, each once; the API takes at most a month at a time."""
    seen: set[str] = set()
    while since < until:
        end = min(until, since + WINDOW)
        body: dict[str, Any] = {
            "chat_type": "single",
            "start_time": int(since.timestamp()),
            "end_time": int(end.timestamp()) + 1,
            "limit": _PAGE,
            **({"creator": creator} if creator else {}),
        }
        with codes.judged("WeCom does not know the member who should have sent."):
            for own in client.pages("get_groupmsg_list_v2", body, "group_msg_list"):
                if str(own.get("msgid")) not in seen:
                    seen.add(str(own.get("msgid")))
                    yield own
        since = end


def _customers(client: WeComClient, msgid: str, member: str) -> Iterator[dict[str, Any]]:
    """Customers of one task, as WeCom tells them. Raises _TooEarly, DestinationError."""
    body = {"msgid": msgid, "userid": member, "limit": _RESULTS_PAGE}
    with codes.judged("WeCom does not know the task or its member."):
        try:
            yield from client.pages("get_groupmsg_send_result", body, "send_list")
        except ApiError as error:
            if error.errcode != codes.TOO_EARLY:
                raise
            raise _TooEarly from None


def _answer(told: Mapping[str, Any], member: str, made_at: dt.datetime) -> Answer | None:
    """What became of one customer's message; None as long as the member has not confirmed it."""
    status = _STATUS.get(int(told.get("status") or 0))
    if status is None:
        return None
    moment = told.get("send_time")
    at = dt.datetime.fromtimestamp(int(moment), dt.UTC) if moment else made_at
    return Answer(str(told.get("external_userid", "")), status, made_at, at, str(told.get("userid", member)))


def _first(items: Iterator[dict[str, Any]]) -> None:
    for _ in items:
        return


def _by_sender(records: Sequence[Record]) -> dict[str, list[int]]:
    """Positions of the records of each sender, without those that name none."""
    groups: dict[str, list[int]] = {}
    for at, own in enumerate(records):
        sender = own.fields.get(SENDER_FIELD)
        if isinstance(sender, str) and sender and own.key and own.operation == "upsert":
            groups.setdefault(sender, []).append(at)
    return groups


def _message(run: RunInfo) -> tuple[str, list[JsonValue]]:
    """Text and attachments of the line. Raises ConfigurationError."""
    text, attachments = run.options.get("text") or "", run.options.get("attachments") or []
    if not isinstance(text, str) or not isinstance(attachments, list) or not (text or attachments):
        raise ConfigurationError("no_message", "A WeCom message line needs the option text, or attachments.")
    if len(text.encode()) > TEXT_BYTES:
        raise ConfigurationError("text_too_long", f"A WeCom message's text has at most {TEXT_BYTES} bytes.")
    if len(attachments) > ATTACHMENTS:
        raise ConfigurationError(
            "too_many_attachments", f"A WeCom message has at most {ATTACHMENTS} attachments."
        )
    return text, attachments
