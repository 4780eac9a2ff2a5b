"""A WeCom server: tokens, customers, corp tags, mass messages, limits and errors, as the public documentation tells.

HTTP is 200 even on errors; `errcode` says what happened. State is counted here, at the destination, so that tests can
see duplicates: `marked` counts effective additions and removals per member, customer and tag; `messages` holds every task.
"""

from __future__ import annotations

import base64
import calendar
import datetime as dt
import json
import secrets
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestration.destinations.clock import Clock, SystemClock
from tests.fakes.server import FakeServer, Reply, Request

CONTACT = "/cgi-bin/externalcontact/"


class Errcode(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


@dataclass
class Follow:
    """A member's view of a customer."""

    tags: set[str] = field(default_factory=set)
    created: int = 1_700_000_000


@dataclass
class Tag:
    id: str
    name: str
    group_id: str
    made_by: str
    order: int = 0
    created: int = 1_700_000_000


@dataclass
class Message:
    msgid: str
    creator: str
    text: str
    customers: list[str]
    created: float
    confirmed: float | None = None
    status: dict[str, int] = field(default_factory=dict)


@dataclass
class Limits:
    """Limits of the documentation; tests make them smaller."""

    per_minute: int = 10_000
    per_hour: int = 150_000
    concurrency: int = 10_000
    corp_tags: int = 3_000
    pair_tags: int = 3_000
    name_characters: int = 30
    message_customers: int = 10_000
    text_bytes: int = 4_000
    attachments: int = 9
    members_a_call: int = 50
    page: int = 100
    robot_per_minute: int = 20
    robot_bytes: int = 4_096
    token_seconds: int = 7_200
    messages_a_day: int | None = None
    """None: as many a month as the month has days."""


class FakeWeCom(FakeServer):
    CORP = "ww1234567890abcdef"
    SECRET = "app-secret-0123456789"

    def __init__(self, *, clock: Clock | None = None, limits: Limits | None = None) -> None:
        self.clock = clock or SystemClock()
        self.limits = limits or Limits()
        self.apps: dict[str, str] = {self.SECRET: "app-1"}
        self.tokens: dict[str, tuple[str, float]] = {}
        self.issued = 0
        self.address_allowed = True
        self.without_permission: set[str] = set()
        """APIs that the app may not call."""
        self.members: set[str] = set()
        self.invisible: set[str] = set()
        self.follows: dict[tuple[str, str], Follow] = {}
        self.customers: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, str] = {}
        self.tags: dict[str, Tag] = {}
        self.marked: Counter[tuple[str, str, str, str]] = Counter()
        self.mark_calls: Counter[tuple[str, str]] = Counter()
        self.accepted_marks = 0
        self.messages: dict[str, Message] = {}
        self.robots: dict[str, list[dict[str, Any]]] = {}
        self.send_result_delay = 0.0
        self.slowness = 0.0
        self.recent: dict[str, deque[float]] = defaultdict(deque)
        self.times: list[float] = []
        super().__init__()
        self._apis: dict[str, Callable[[Any, str], dict[str, Any]]] = {
            "get_corp_tag_list": self._list_tags,
            "add_corp_tag": self._add_tag,
            "edit_corp_tag": self._edit_tag,
            "del_corp_tag": self._delete_tag,
            "mark_tag": self._mark,
            "batch/get_by_user": self._by_user,
            "add_msg_template": self._add_message,
            "get_groupmsg_list_v2": self._list_messages,
            "get_groupmsg_task": self._tasks,
            "get_groupmsg_send_result": self._results,
        }

    # --- the world of a test ---

    def add_member(self, userid: str) -> None:
        self.members.add(userid)

    def follow(
        self, userid: str, customer: str, *, name: str = "customer", unionid: str | None = None
    ) -> None:
        self.members.add(userid)
        self.customers.setdefault(
            customer,
            {
                "external_userid": customer,
                "name": name,
                "type": 1,
                **({"unionid": unionid} if unionid else {}),
            },
        )
        self.follows.setdefault((userid, customer), Follow())

    def unfriend(self, userid: str, customer: str) -> None:
        with self.lock:
            self.follows.pop((userid, customer), None)

    def make_tag(self, group: str, name: str, *, made_by: str = "staff") -> str:
        group_id = next((own for own, title in self.groups.items() if title == group), None)
        if group_id is None:
            group_id = f"etg{len(self.groups):04d}"
            self.groups[group_id] = group
        tag = Tag(f"et{len(self.tags):06d}", name, group_id, made_by)
        self.tags[tag.id] = tag
        return tag.id

    def tag_names(self, userid: str, customer: str) -> set[tuple[str, str]]:
        """(group, tag) of one member's customer."""
        return {
            (self.groups[self.tags[own].group_id], self.tags[own].name)
            for own in self.follows[userid, customer].tags
        }

    def revoke_tokens(self) -> None:
        """As the platform may do at any time."""
        with self.lock:
            self.tokens.clear()

    def confirm(self, msgid: str) -> None:
        """The member presses send: each customer gets it, unless unfriended or at the platform's limit."""
        with self.lock:
            message, moment = self.messages[msgid], self.clock.now()
            for customer in message.customers:
                if (message.creator, customer) not in self.follows:
                    message.status[customer] = 2
                elif self._is_full(customer, moment):
                    message.status[customer] = 3
                else:
                    message.status[customer] = 1
            message.confirmed = moment.timestamp()

    def _is_full(self, customer: str, moment: dt.datetime) -> bool:
        sent = [
            dt.datetime.fromtimestamp(own.confirmed, dt.UTC)
            for own in self.messages.values()
            if own.confirmed is not None and own.status.get(customer) == 1
        ]
        if self.limits.messages_a_day is not None:
            return sum(own.date() == moment.date() for own in sent) >= self.limits.messages_a_day
        month = [own for own in sent if (own.year, own.month) == (moment.year, moment.month)]
        return len(month) >= calendar.monthrange(moment.year, moment.month)[1]

    def times_reached(self, customer: str) -> int:
        """Mass-message tasks that hold this customer."""
        return sum(message.customers.count(customer) for message in self.messages.values())

    # --- HTTP ---

    def api(self, request: Request) -> str:
        return request.path.removeprefix(CONTACT).removeprefix("/cgi-bin/")

    def answer(self, request: Request) -> Reply:
        try:
            body = {"errcode": 0, "errmsg": "ok", **self._answer(request)}
        except Errcode as error:
            # Messages vary and repeat what was asked for; lists may be there and empty.
            body = {"errcode": error.code, "errmsg": f"hint: [{secrets.token_hex(4)}] {request.body[:200]!r}"}
            if error.code in {84061, 41063}:
                body |= {"external_userid": [], "send_list": []}
        return Reply(200, json.dumps(body).encode())

    def _answer(self, request: Request) -> dict[str, Any]:
        name = self.api(request)
        if name == "gettoken":
            return self._token(request.query)
        if name == "webhook/send":
            return self._robot(request)
        with self.lock:
            self._let_in(name, request.query.get("access_token", ""))
        self.stopped.wait(self.slowness)
        if self.under_way > self.limits.concurrency:
            raise Errcode(45033)
        if name == "list" and request.method == "GET":
            return self._list_customers(request.query)
        known = self._apis.get(name)
        if known is None or request.method != "POST":
            raise Errcode(40058)
        try:
            wanted = request.json()
        except ValueError:
            raise Errcode(40058) from None
        with self.lock:
            return known(wanted, self.tokens_app(request))

    def tokens_app(self, request: Request) -> str:
        return self.tokens.get(request.query.get("access_token", ""), ("", 0.0))[0]

    def _token(self, query: Mapping[str, str]) -> dict[str, Any]:
        if query.get("corpid") != self.CORP:
            raise Errcode(40013)
        app = self.apps.get(query.get("corpsecret", ""))
        if app is None:
            raise Errcode(40001)
        with self.lock:
            self.issued += 1
            token = f"token-{self.issued}-{secrets.token_urlsafe(24)}"
            self.tokens[token] = (app, self.clock.monotonic() + self.limits.token_seconds)
        return {"access_token": token, "expires_in": self.limits.token_seconds}

    def _let_in(self, name: str, token: str) -> None:
        if not token:
            raise Errcode(41001)
        if token not in self.tokens:
            raise Errcode(40014)
        now = self.clock.monotonic()
        if self.tokens[token][1] <= now:
            raise Errcode(42001)
        if not self.address_allowed:
            raise Errcode(60020)
        if name in self.without_permission:
            raise Errcode(48002)
        if not self._has_room(f"{name}/minute", now, 60, self.limits.per_minute):
            raise Errcode(45009)
        if not self._has_room(f"{name}/hour", now, 3600, self.limits.per_hour):
            raise Errcode(45009)
        self.recent[f"{name}/minute"].append(now)
        self.recent[f"{name}/hour"].append(now)
        if len(self.times) < 1_000_000:
            self.times.append(now)

    def _has_room(self, name: str, now: float, seconds: float, limit: int) -> bool:
        recent = self.recent[name]
        while recent and recent[0] <= now - seconds:
            recent.popleft()
        return len(recent) < limit

    def _robot(self, request: Request) -> dict[str, Any]:
        key, wanted = request.query.get("key", ""), request.json()
        if key not in self.robots:
            raise Errcode(93000)
        content = wanted.get("markdown", {}).get("content", "")
        if wanted.get("msgtype") != "markdown" or not content:
            raise Errcode(40008)
        if len(content.encode()) > self.limits.robot_bytes:
            raise Errcode(40058)
        with self.lock:
            now = self.clock.monotonic()
            if not self._has_room("robot/" + key, now, 60, self.limits.robot_per_minute):
                raise Errcode(45009)
            self.recent["robot/" + key].append(now)
            self.robots[key].append(wanted)
        return {}

    # --- tags ---

    def _group(self, group_id: str, tags: Sequence[Tag]) -> dict[str, Any]:
        shown = [
            {"id": own.id, "name": own.name, "create_time": own.created, "order": own.order, "deleted": False}
            for own in tags
        ]
        return {
            "group_id": group_id,
            "group_name": self.groups[group_id],
            "create_time": 1_700_000_000,
            "order": 0,
            "deleted": False,
            "tag": shown,
        }

    def _list_tags(self, wanted: Any, _: str) -> dict[str, Any]:
        ids, groups = wanted.get("tag_id") or [], wanted.get("group_id") or []
        chosen = [
            tag
            for tag in self.tags.values()
            if (not ids and not groups) or (tag.group_id in groups if groups else tag.id in ids)
        ]
        by_group: dict[str, list[Tag]] = defaultdict(list)
        for tag in chosen:
            by_group[tag.group_id].append(tag)
        return {"tag_group": [self._group(group, tags) for group, tags in by_group.items()]}

    def _add_tag(self, wanted: Any, app: str) -> dict[str, Any]:
        names = [str(own.get("name", "")) for own in wanted.get("tag") or []]
        title, group_id = str(wanted.get("group_name", "")), wanted.get("group_id")
        if not names or (not title and not group_id):
            raise Errcode(40058)
        if any(
            not 0 < len(own) <= self.limits.name_characters for own in [*names, *([title] if title else [])]
        ):
            raise Errcode(40072)
        if group_id and group_id not in self.groups:
            raise Errcode(40068)
        group_id = group_id or next((own for own, known in self.groups.items() if known == title), None)
        there = {tag.name for tag in self.tags.values() if tag.group_id == group_id}
        if len(set(names)) < len(names) or there & set(names):
            raise Errcode(40071)
        if len(self.tags) + len(names) > self.limits.corp_tags:
            raise Errcode(40058)
        if group_id is None:
            group_id = f"etg{len(self.groups):04d}"
            self.groups[group_id] = title
        made = []
        for position, own in enumerate(names):
            tag = Tag(f"et{len(self.tags):06d}", own, group_id, app, position)
            self.tags[tag.id] = tag
            made.append(tag)
        return {"tag_group": self._group(group_id, made)}

    def _edit_tag(self, wanted: Any, app: str) -> dict[str, Any]:
        tag = self.tags.get(str(wanted.get("id")))
        if tag is None or tag.made_by != app:
            raise Errcode(40068)
        new = str(wanted.get("name", tag.name))
        if not 0 < len(new) <= self.limits.name_characters:
            raise Errcode(40072)
        if any(
            own.name == new and own.group_id == tag.group_id and own.id != tag.id
            for own in self.tags.values()
        ):
            raise Errcode(40071)
        tag.name = new
        return {}

    def _delete_tag(self, wanted: Any, app: str) -> dict[str, Any]:
        groups = set(wanted.get("group_id") or [])
        ids = set(wanted.get("tag_id") or []) | {
            own.id for own in self.tags.values() if own.group_id in groups
        }
        if not ids:
            raise Errcode(40058)
        if any(own not in self.tags or self.tags[own].made_by != app for own in ids):
            raise Errcode(40068)
        for own in ids:
            del self.tags[own]
            for follow in self.follows.values():
                follow.tags.discard(own)
        return {}

    def _mark(self, wanted: Any, _: str) -> dict[str, Any]:
        userid, customer = str(wanted.get("userid", "")), str(wanted.get("external_userid", ""))
        add, remove = wanted.get("add_tag") or [], wanted.get("remove_tag") or []
        if not userid or not customer or not (add or remove):
            raise Errcode(40058)
        if userid not in self.members:
            raise Errcode(60111)
        if userid in self.invisible:
            raise Errcode(60011)
        if customer not in self.customers:
            raise Errcode(40096)
        follow = self.follows.get((userid, customer))
        if follow is None:
            raise Errcode(84061)
        if any(own not in self.tags for own in [*add, *remove]):
            raise Errcode(40068)
        after = (follow.tags | set(add)) - set(remove)
        if len(after) > self.limits.pair_tags:
            raise Errcode(40058)
        for own in after - follow.tags:
            self.marked[userid, customer, own, "add"] += 1
        for own in follow.tags - after:
            self.marked[userid, customer, own, "remove"] += 1
        follow.tags = after
        self.mark_calls[userid, customer] += 1
        self.accepted_marks += 1
        return {}

    # --- customers ---

    def _by_user(self, wanted: Any, _: str) -> dict[str, Any]:
        members = wanted.get("userid_list") or []
        limit = int(wanted.get("limit") or 50)
        if not 0 < len(members) <= self.limits.members_a_call or not 0 < limit <= self.limits.page:
            raise Errcode(40058)
        if any(own not in self.members for own in members):
            raise Errcode(60111)
        pairs = self._pairs_of(tuple(members))
        page, cursor = _page(pairs, wanted.get("cursor", ""), limit)
        listed = []
        for userid, customer in page:
            follow = self.follows.get((userid, customer))
            if follow is None:
                continue
            listed.append(
                {
                    "external_contact": self.customers[customer],
                    "follow_info": {
                        "userid": userid,
                        "remark": "",
                        "createtime": follow.created,
                        "tag_id": sorted(follow.tags),
                        "add_way": 1,
                        "state": "",
                    },
                }
            )
        return {"external_contact_list": listed, "next_cursor": cursor}

    def _pairs_of(self, members: tuple[str, ...]) -> list[tuple[str, str]]:
        key = (members, len(self.follows))
        if getattr(self, "_pairs_key", None) != key:
            self._pairs_key = key
            self._pairs = [pair for pair in self.follows if pair[0] in set(members)]
        return self._pairs

    def _list_customers(self, query: Mapping[str, str]) -> dict[str, Any]:
        userid = query.get("userid", "")
        if userid not in self.members:
            raise Errcode(60111)
        found = [customer for own, customer in self.follows if own == userid]
        if not found:
            raise Errcode(84061)
        return {"external_userid": found}

    # --- mass messages ---

    def _add_message(self, wanted: Any, _: str) -> dict[str, Any]:
        customers, sender = list(wanted.get("external_userid") or []), str(wanted.get("sender", ""))
        content = str((wanted.get("text") or {}).get("content", ""))
        attachments = wanted.get("attachments") or []
        if wanted.get("chat_type", "single") != "single" or not (customers or sender):
            raise Errcode(40058)
        if not content and not attachments:
            raise Errcode(40035)
        if len(content.encode()) > self.limits.text_bytes:
            raise Errcode(45002)
        if len(attachments) > self.limits.attachments or len(customers) > self.limits.message_customers:
            raise Errcode(40058)
        if sender and sender not in self.members:
            raise Errcode(40003)
        if not customers:  # the trap: every customer of that member
            customers = [customer for own, customer in self.follows if own == sender]
        reachable: list[str] = []
        failed: list[str] = []
        for customer in customers:
            owners = [own for own, followed in self.follows if followed == customer]
            (reachable if (sender in owners if sender else owners) else failed).append(customer)
        if not reachable:
            raise Errcode(41048)
        msgid = f"msg{secrets.token_hex(12)}"
        self.messages[msgid] = Message(
            msgid,
            sender or next(own for own, followed in self.follows if followed == reachable[0]),
            content,
            reachable,
            self.clock.monotonic()
            if not isinstance(self.clock, SystemClock)
            else self.clock.now().timestamp(),
        )
        return {"fail_list": failed, "msgid": msgid}

    def _list_messages(self, wanted: Any, _: str) -> dict[str, Any]:
        start, end = int(wanted.get("start_time", 0)), int(wanted.get("end_time", 0))
        limit = int(wanted.get("limit") or 50)
        if wanted.get("chat_type") != "single" or not start < end or end - start > 31 * 86400 or limit > 100:
            raise Errcode(40058)
        creator = wanted.get("creator")
        found = [
            own
            for own in self.messages.values()
            if start <= int(own.created) <= end and (not creator or own.creator == creator)
        ]
        page, cursor = _page(found, wanted.get("cursor", ""), limit)
        return {
            "next_cursor": cursor,
            "group_msg_list": [
                {
                    "msgid": own.msgid,
                    "creator": own.creator,
                    "create_time": int(own.created),
                    "create_type": 0,
                    "text": {"content": own.text},
                }
                for own in page
            ],
        }

    def _message(self, wanted: Any) -> Message:
        message = self.messages.get(str(wanted.get("msgid")))
        if message is None:
            raise Errcode(40063)
        if self.clock.now().timestamp() < message.created + self.send_result_delay:
            raise Errcode(41063)
        return message

    def _tasks(self, wanted: Any, _: str) -> dict[str, Any]:
        own = self._message(wanted)
        task: dict[str, Any] = {"userid": own.creator, "status": 0 if own.confirmed is None else 2}
        if own.confirmed is not None:
            task["send_time"] = int(own.confirmed)
        page, cursor = _page([task], wanted.get("cursor", ""), int(wanted.get("limit") or 500))
        return {"next_cursor": cursor, "task_list": page}

    def _results(self, wanted: Any, _: str) -> dict[str, Any]:
        own = self._message(wanted)
        if wanted.get("userid") != own.creator:
            raise Errcode(60111)
        listed = []
        for customer in own.customers:
            entry: dict[str, Any] = {
                "external_userid": customer,
                "userid": own.creator,
                "status": own.status.get(customer, 0),
            }
            if own.status.get(customer) == 1 and own.confirmed is not None:
                entry["send_time"] = int(own.confirmed)
            listed.append(entry)
        page, cursor = _page(listed, wanted.get("cursor", ""), int(wanted.get("limit") or 500))
        return {"next_cursor": cursor, "send_list": page}


def _page(items: Sequence[Any], cursor: str, limit: int) -> tuple[list[Any], str]:
    start = 0
    if cursor:
        try:
            start = int(base64.urlsafe_b64decode(cursor.encode()).decode().removeprefix("at:"))
        except ValueError:
            raise Errcode(50100) from None
        if not 0 < start <= len(items):
            raise Errcode(50100)
    end = start + limit
    following = base64.urlsafe_b64encode(f"at:{end}".encode()).decode() if end < len(items) else ""
    return list(items[start:end]), following
