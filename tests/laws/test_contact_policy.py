"""The contact policy equals a loop in plain Python that asks one wish after the other, on random wishes."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.home import DBT_PROJECT_DIR
from tests.laws import BUSINESS_TIME

MACROS = ("add_days", "as_of", "business_date", "day_start", "days_between", "happened", "steady_time")
MODEL = DBT_PROJECT_DIR / "models/marts/contact/contact_policy_decisions.sql"
# A Tuesday at the end of a month: the day of sending opens a month in the middle of a week.
AS_OF = dt.date(2026, 6, 30)
SEND = AS_OF + dt.timedelta(days=1)
CHANNELS = ("wecom", "sms", "tags")
SENT = ("sent", "delivered", "opened", "clicked", "replied", "converted")

_CONNECTION = duckdb.connect()
_CONNECTION.execute("set threads = 1; set TimeZone = 'UTC'")
_CONNECTION.execute(
    f"""
    set variable as_of = date '{AS_OF}';
    create table catalog_activations (activation varchar, audience varchar, destination varchar, purpose varchar,
        channel varchar, priority integer, sends_at varchar, content_id varchar);
    create table contact_rules (channel varchar, purpose varchar, disturbs boolean, without_consent varchar,
        needs_contact boolean, quiet_from varchar, quiet_until varchar, cool_down_days integer, content_repeat_days integer);
    create table contact_caps (cap varchar, channel varchar, purpose varchar, period varchar, days integer, max_sends integer);
    create table audience_members (audience varchar, user_id varchar, is_holdout boolean);
    create table user_wide (user_id varchar, is_contact boolean, is_contact_deleted boolean, is_blocked boolean,
        last_order_date date);
    create table int_consents__current
        (user_id varchar, purpose varchar, channel varchar, is_granted boolean, changed_at timestamp);
    create table int_identity__lookup (id_type varchar, id varchar, user_id varchar);
    create table stg_raw__erasure_requests (id_type varchar, id varchar, requested_at timestamp);
    create table stg_raw__touches (touch_id varchar, id_type varchar, id varchar, channel varchar, status varchar,
        occurred_at timestamp, content_id varchar);
    """
)
# Nothing is shared between users: many at once are many cases for the price of one.
USERS = tuple(f"u{name}" for name in "abcdefgh")
_CONNECTION.executemany(
    "insert into int_identity__lookup values (?, ?, ?)",
    [(kind, user[1:], user) for kind in ("phone", "contact_id") for user in USERS],
)
_FILLED = (
    *("catalog_activations", "contact_rules", "contact_caps", "audience_members", "user_wide"),
    *("int_consents__current", "stg_raw__erasure_requests", "stg_raw__touches"),
)


class _Adapter:
    """Stands for dbt's adapter: finds the DuckDB form of a macro."""

    module: Any = None

    def dispatch(self, name: str) -> Any:
        return getattr(self.module, f"duckdb__{name}")


def render() -> str:
    """SQL of contact_policy_decisions, for DuckDB."""
    adapter = _Adapter()
    environment = jinja2.Environment(autoescape=False)
    environment.globals.update(
        adapter=adapter,
        var=BUSINESS_TIME.__getitem__,
        ref=lambda name: name,
        dbt=type("Types", (), {"type_string": staticmethod(lambda: "varchar")}),
        **{"return": lambda value: value},
    )
    text = "".join((DBT_PROJECT_DIR / "macros" / f"{name}.sql").read_text() for name in MACROS)
    adapter.module = environment.from_string(text).module
    environment.globals.update({name: getattr(adapter.module, name) for name in MACROS})
    return environment.from_string(MODEL.read_text()).render()


SQL = render()


@pytest.fixture(autouse=True, scope="module")
def _close() -> Iterator[None]:
    yield
    _CONNECTION.close()


@dataclass(frozen=True)
class Line:
    """An activation line; its audience has its name."""

    name: str
    purpose: str
    channel: str
    priority: int
    sends_at: str | None
    content: str | None
    members: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Rule:
    channel: str
    purpose: str
    disturbs: bool
    without_consent: str
    needs_contact: bool
    quiet: tuple[str, str] | None
    cool_down: int | None
    repeat: int | None


@dataclass(frozen=True)
class Cap:
    name: str
    channel: str
    purpose: str
    period: str
    days: int | None
    limit: int | None


@dataclass(frozen=True)
class Message:
    """A message to a user; statuses with the days before AS_OF on which they were told (0 = AS_OF)."""

    number: int
    user: str
    channel: str
    content: str | None
    told: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Case:
    lines: tuple[Line, ...]
    rules: tuple[Rule, ...]
    caps: tuple[Cap, ...]
    users: dict[str, tuple[str, int | None]]  # relation, days before AS_OF of the last order
    consents: dict[
        tuple[str, str, str], tuple[bool, int]
    ]  # user, purpose, channel -> granted, days before AS_OF
    erased: tuple[str, ...]
    messages: tuple[Message, ...] = field(default=())


def ago(days: int) -> dt.date:
    return AS_OF - dt.timedelta(days=days)


def moment(days: int) -> dt.datetime:
    """Just before midnight in Shanghai, in UTC: a day of UTC and a business day end at different moments."""
    return dt.datetime.combine(ago(days), dt.time(15, 59, 59))


def sent_on(message: Message) -> dt.date | None:
    told = [(status, ago(back)) for status, back in message.told if back >= 0]
    sent = [day for status, day in told if status in SENT]
    planned = [day for status, day in told if status == "planned"]
    failed = any(status == "failed" for status, _ in told)
    return min(sent, default=None if failed else min(planned, default=None))


def opens_on(cap: Cap) -> dt.date:
    if cap.period == "month":
        return SEND.replace(day=1)
    if cap.period == "week":
        return SEND - dt.timedelta(days=SEND.weekday())
    assert cap.days is not None
    return SEND - dt.timedelta(days=cap.days - 1)


def limit(cap: Cap) -> int:
    return cap.limit if cap.limit is not None else calendar.monthrange(SEND.year, SEND.month)[1]


def rule_of(case: Case, line: Line) -> Rule:
    fitting = [
        rule
        for rule in case.rules
        if rule.channel in (line.channel, "*") and rule.purpose in (line.purpose, "*")
    ]
    fitting.sort(key=lambda rule: (rule.channel == "*", rule.purpose == "*"))
    default = Rule(
        "*", "*", True, "allowed" if line.purpose == "service" else "refused", False, None, None, None
    )
    return fitting[0] if fitting else default


def refused_before_priority(case: Case, line: Line, user: str, held_out: bool) -> str | None:
    rule = rule_of(case, line)
    relation, ordered = case.users[user]
    if user in case.erased:
        return "erased"
    if rule.needs_contact and relation != "contact":
        return {"blocked": "blocked", "deleted": "contact_deleted", "stranger": "no_contact"}[relation]
    statement = case.consents.get((user, line.purpose, line.channel)) or case.consents.get(
        (user, line.purpose, "all")
    )
    left = [
        moment(back)
        for message in case.messages
        if message.user == user and message.channel == line.channel
        for status, back in message.told
        if status == "unsubscribed" and back >= 0
    ]
    if line.purpose == "marketing" and left and (statement is None or max(left) >= moment(statement[1])):
        return "unsubscribed"
    if statement is not None and not statement[0]:
        return "consent_withdrawn"
    if statement is None and rule.without_consent == "refused":
        return "no_consent"
    if held_out:
        return "holdout"
    if not rule.disturbs:
        return None
    if line.sends_at is not None and rule.quiet is not None:
        begin, end = rule.quiet
        inside = begin <= line.sends_at < end
        if inside if begin < end else line.sends_at >= begin or line.sends_at < end:
            return "quiet_hours"
    for cap in case.caps:
        if applies(cap, line) and used(case, cap, user) >= limit(cap):
            return "cap"
    if ordered is not None and rule.cool_down is not None and (SEND - ago(ordered)).days <= rule.cool_down:
        return "cool_down"
    if line.content is not None and rule.repeat is not None:
        for message in case.messages:
            day = sent_on(message)
            is_same = message.user == user and message.content == line.content
            if is_same and day is not None and (SEND - day).days <= rule.repeat:
                return "content_seen"
    return None


def applies(cap: Cap, line: Line) -> bool:
    return cap.channel in (line.channel, "*") and cap.purpose in (line.purpose, "*")


def used(case: Case, cap: Cap, user: str) -> int:
    count = 0
    for message in case.messages:
        day = sent_on(message)
        if message.user == user and cap.channel in (message.channel, "*") and day is not None:
            count += day >= opens_on(cap)
    return count


def decide(case: Case) -> dict[tuple[str, str], str | None]:
    """One wish after the other: service before marketing, then priority, then name; each takes a place in every cap."""
    found: dict[tuple[str, str], str | None] = {}
    taken: list[tuple[str, Line]] = []
    for line in sorted(case.lines, key=lambda one: (one.purpose != "service", one.priority, one.name)):
        for user, held_out in line.members:
            rule = refused_before_priority(case, line, user, held_out)
            if rule is None and rule_of(case, line).disturbs:
                for cap in case.caps:
                    planned = sum(
                        1
                        for other, one in taken
                        if other == user
                        and cap.channel in (one.channel, "*")
                        and (cap.purpose == "*" or cap.purpose == one.purpose)
                    )
                    if applies(cap, line) and used(case, cap, user) + planned >= limit(cap):
                        rule = "priority"
                if rule is None:
                    taken.append((user, line))
            found[line.name, user] = rule
    return found


def answer(case: Case) -> list[dict[str, Any]]:
    run = _CONNECTION.execute
    for table in _FILLED:
        run(f"delete from {table}")

    def fill(table: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            _CONNECTION.executemany(f"insert into {table} values ({', '.join('?' * len(rows[0]))})", rows)

    fill(
        "catalog_activations",
        [
            (one.name, one.name, "file", one.purpose, one.channel, one.priority, one.sends_at, one.content)
            for one in case.lines
        ],
    )
    fill("audience_members", [(one.name, user, held) for one in case.lines for user, held in one.members])
    fill(
        "contact_rules",
        [
            (
                *(one.channel, one.purpose, one.disturbs, one.without_consent, one.needs_contact),
                *(one.quiet or (None, None)),
                *(one.cool_down, one.repeat),
            )
            for one in case.rules
        ],
    )
    fill(
        "contact_caps",
        [(one.name, one.channel, one.purpose, one.period, one.days, one.limit) for one in case.caps],
    )
    fill(
        "user_wide",
        [
            (
                user,
                relation in ("contact", "blocked"),
                relation == "deleted",
                relation == "blocked",
                None if ordered is None else ago(ordered),
            )
            for user, (relation, ordered) in case.users.items()
        ],
    )
    fill(
        "int_consents__current",
        [(*key, granted, moment(back)) for key, (granted, back) in case.consents.items()],
    )
    fill("stg_raw__erasure_requests", [("phone", user[1:], moment(0)) for user in case.erased])
    fill(
        "stg_raw__touches",
        [
            (f"m{one.number}", "phone", one.user[1:], one.channel, status, moment(back), one.content)
            for one in case.messages
            for status, back in one.told
        ],
    )
    found = run(SQL)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


PURPOSES = ("marketing", "service")
HOURS = st.sampled_from(["08:59", "09:00", "12:00", "20:59", "21:00", "23:59", "00:00"])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    users = USERS
    lines = tuple(
        Line(
            f"l{number}",
            draw(st.sampled_from(PURPOSES)),
            draw(st.sampled_from(CHANNELS)),
            draw(st.integers(1, 3)),
            draw(st.one_of(st.none(), HOURS)),
            draw(st.sampled_from([None, None, "t1", "t2"])),
            tuple((user, draw(st.sampled_from([False, False, False, True]))) for user in users),
        )
        for number in range(draw(st.integers(1, 6)))
    )
    scopes = st.tuples(st.sampled_from([*CHANNELS, "*"]), st.sampled_from([*PURPOSES, "*"]))
    rules = tuple(
        Rule(
            *scope,
            draw(st.sampled_from([True, True, True, False])),
            draw(st.sampled_from(["allowed", "allowed", "refused"])),
            draw(st.sampled_from([False, False, True])),
            draw(st.sampled_from([None, None, ("21:00", "09:00"), ("12:00", "21:00")])),
            draw(st.sampled_from([None, None, 0, 1, 3])),
            draw(st.sampled_from([None, 1, 7])),
        )
        for scope in draw(st.lists(scopes, unique=True, max_size=4))
    )
    caps = tuple(
        Cap(
            f"c{number}",
            *draw(scopes),
            *draw(st.sampled_from([("rolling", 1), ("rolling", 3), ("week", None), ("month", None)])),
            draw(st.integers(1, 3)),
        )
        for number in range(draw(st.integers(0, 4)))
    )
    told = st.tuples(
        st.sampled_from(["sent", "delivered", "clicked", "planned", "failed", "unsubscribed"]),
        st.sampled_from([-1, 0, 1, 2, 3, 6, 7]),
    )
    messages = tuple(
        Message(
            number,
            draw(st.sampled_from(users)),
            draw(st.sampled_from(CHANNELS)),
            draw(st.sampled_from([None, "t1", "t2"])),
            tuple(draw(st.lists(told, min_size=1, max_size=3, unique_by=lambda one: one[0]))),
        )
        for number in range(draw(st.integers(0, 20)))
    )
    relation = st.sampled_from(["contact", "contact", "deleted", "blocked", "stranger"])
    return Case(
        lines,
        rules,
        caps,
        {user: (draw(relation), draw(st.sampled_from([None, 0, 1, 2, 3]))) for user in users},
        {
            (user, purpose, channel): (draw(st.sampled_from([True, True, False])), draw(st.integers(0, 4)))
            for user in users
            for purpose in PURPOSES
            for channel in (*CHANNELS, "all")
            if draw(st.booleans())
        },
        tuple(user for user in users if draw(st.integers(0, 9)) == 0),
        messages,
    )


@settings(max_examples=40)
@given(cases())
def test_the_policy_asks_one_wish_after_the_other(case: Case) -> None:
    found = answer(case)
    expected = decide(case)
    assert len(found) == len(expected)
    assert {(row["activation"], row["user_id"]): row["rule"] for row in found} == expected
    allowed = {(row["activation"], row["user_id"]) for row in found if row["is_allowed"]}
    for row in found:
        assert row["is_allowed"] == (row["rule"] is None)
        assert row["send_date"] == SEND
        assert (row["beaten_by"] is not None) == (row["rule"] == "priority")
        if row["beaten_by"] is not None:
            assert (row["beaten_by"], row["user_id"]) in allowed


def test_the_order_of_lines_and_caps_in_their_files_decides_nothing() -> None:
    member = (("ua", False),)
    lines = (
        Line("b", "marketing", "sms", 1, "10:00", None, member),
        Line("a", "marketing", "sms", 1, "10:00", None, member),
        Line("c", "service", "sms", 9, "10:00", None, member),
    )
    rules = (Rule("*", "*", True, "allowed", False, None, None, None),)
    caps = (Cap("z", "sms", "*", "rolling", 1, 2), Cap("y", "*", "*", "rolling", 7, 2))
    users: dict[str, tuple[str, int | None]] = {"ua": ("stranger", None)}
    first = answer(Case(lines, rules, caps, users, {}, ()))
    second = answer(Case(lines[::-1], rules, caps[::-1], users, {}, ()))
    by_name = {row["activation"]: (row["rule"], row["beaten_by"]) for row in first}
    assert by_name == {"a": (None, None), "b": ("priority", "c"), "c": (None, None)}
    assert {row["activation"]: (row["rule"], row["beaten_by"]) for row in second} == by_name
