"""The numbers of the contact policy that a marketer edits: seeds/rules/contact_rules.csv and contact_caps.csv.

The warehouse decides by them (mart contact_policy_decisions), and quiet hours are looked at once more when something is sent.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from orchestration.home import SEEDS_DIR
from orchestration.specs.documents import Problem, SpecError, shown

RULES_FILE = "rules/contact_rules.csv"
CAPS_FILE = "rules/contact_caps.csv"
PURPOSES = ("marketing", "service")
ANY = "*"

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]\Z")
_CHANNEL = re.compile(r"[a-z][a-z0-9_]*\Z")
_RULES_COLUMNS = (
    *("channel", "purpose", "disturbs", "without_consent", "needs_contact"),
    *("quiet_from", "quiet_until", "cool_down_days", "content_repeat_days"),
)
_CAPS_COLUMNS = ("cap", "channel", "purpose", "period", "days", "max_sends")
_Row = Mapping[str, str]


@dataclass(frozen=True)
class ContactRule:
    """When a wish to reach a user on a channel for a purpose is refused, caps apart. `quiet_from` and `quiet_until` are
    HH:MM of business time, both or neither."""

    channel: str
    purpose: str
    disturbs: bool
    without_consent: str
    needs_contact: bool
    quiet_from: str = ""
    quiet_until: str = ""

    def is_quiet(self, local: dt.time) -> bool:
        """Whether nothing is sent at a time of the business day; the first minute is quiet, the last one is not."""
        if not self.quiet_from or not self.disturbs:
            return False
        minute = local.strftime("%H:%M")
        if self.quiet_from < self.quiet_until:
            return self.quiet_from <= minute < self.quiet_until
        return minute >= self.quiet_from or minute < self.quiet_until


@dataclass(frozen=True)
class ContactRules:
    """All rules, in the order of the file."""

    rules: Sequence[ContactRule]

    def rule(self, channel: str, purpose: str) -> ContactRule:
        """The most specific rule: the channel's own before one for all, then the purpose's own. Without any: what the
        law asks for, marketing only after consent."""
        channel, purpose = channel.strip().lower(), purpose.strip().lower()
        fitting = [
            rule for rule in self.rules if rule.channel in (channel, ANY) and rule.purpose in (purpose, ANY)
        ]
        if fitting:
            return min(fitting, key=lambda rule: (rule.channel == ANY, rule.purpose == ANY))
        return ContactRule(
            channel, purpose, True, "allowed" if purpose == "service" else "refused", needs_contact=False
        )

    def quiet_until(self, channel: str, purpose: str, at: dt.datetime, zone: ZoneInfo) -> dt.datetime | None:
        """The moment (UTC) at which the quiet hours end in which `at` (aware) falls; None when it falls in none."""
        rule, local = self.rule(channel, purpose), at.astimezone(zone)
        if not rule.is_quiet(local.time()):
            return None
        day = local.date() + dt.timedelta(days=local.strftime("%H:%M") >= rule.quiet_until)
        return dt.datetime.combine(day, dt.time.fromisoformat(rule.quiet_until), zone).astimezone(dt.UTC)


@dataclass(frozen=True)
class ContactCap:
    """How many messages a user gets on a channel (`*`: on all together) for a purpose: in `days` days, in the week or in
    the month of the calendar. `max_sends` None: as many as the month has days."""

    cap: str
    channel: str
    purpose: str
    period: str
    days: int | None
    max_sends: int | None

    def holds_for(self, channel: str, purpose: str) -> bool:
        """Whether a message on a channel for a purpose needs a place of this cap."""
        return self.channel in (channel.strip().lower(), ANY) and self.purpose in (
            purpose.strip().lower(),
            ANY,
        )

    def first_day(self, day: dt.date) -> dt.date:
        """The first day whose messages count on a day."""
        match self.period:
            case "month":
                return day.replace(day=1)
            case "week":
                return day - dt.timedelta(days=day.weekday())
            case _:
                return day - dt.timedelta(days=(self.days or 1) - 1)

    def limit(self, day: dt.date) -> int:
        """How many messages may count on a day, the one that is asked about included."""
        return monthrange(day.year, day.month)[1] if self.max_sends is None else self.max_sends


def read_contact_caps(seeds_dir: Path = SEEDS_DIR) -> Sequence[ContactCap]:
    """The caps of a project. Raises SpecError with file and line of everything that is wrong in the rules."""
    problems = contact_problems(seeds_dir)
    if problems:
        raise SpecError(problems)
    return [
        ContactCap(
            row["cap"],
            row["channel"].lower(),
            row["purpose"].lower(),
            row["period"],
            int(row["days"]) if row["days"] else None,
            int(row["max_sends"]) if row["max_sends"] else None,
        )
        for _, row in _rows(seeds_dir / CAPS_FILE)
    ]


def read_contact_rules(seeds_dir: Path = SEEDS_DIR) -> ContactRules:
    """The rules of a project. Raises SpecError with file and line of everything that is wrong in them."""
    problems = contact_problems(seeds_dir)
    if problems:
        raise SpecError(problems)
    return ContactRules(
        [
            ContactRule(
                row["channel"],
                row["purpose"],
                row["disturbs"] == "true",
                row["without_consent"],
                row["needs_contact"] == "true",
                row["quiet_from"],
                row["quiet_until"],
            )
            for _, row in _rows(seeds_dir / RULES_FILE)
        ]
    )


def contact_problems(seeds_dir: Path = SEEDS_DIR) -> list[Problem]:
    """What is wrong in the two files; a file that is not there is not wrong."""
    return [
        *_problems(seeds_dir / RULES_FILE, _RULES_COLUMNS, ("channel", "purpose"), _rule_faults),
        *_problems(seeds_dir / CAPS_FILE, _CAPS_COLUMNS, ("cap",), _cap_faults),
    ]


def _rows(file: Path) -> list[tuple[int, _Row]]:
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, restkey="", restval="")
            return [
                (reader.line_num, {k: str(v).strip() for k, v in row.items() if k != ""}) for row in reader
            ]
    except FileNotFoundError:
        return []


def _problems(
    file: Path, columns: Sequence[str], key: Sequence[str], faults: Callable[[_Row], list[str]]
) -> list[Problem]:
    where = f"seeds/{file.parent.name}/{file.name}"
    found, seen = [], dict[tuple[str, ...], int]()
    for line, row in _rows(file):
        missing = [column for column in columns if column not in row]
        if missing:
            return [
                Problem(
                    where, 1, f"The column {missing[0]} is missing; the columns are {', '.join(columns)}."
                )
            ]
        found += [Problem(where, line, text) for text in faults(row)]
        name = tuple(row[column] for column in key)
        if name in seen:
            text = f"{' and '.join(key)} {shown(' '.join(name))} stand in line {seen[name]} already; keep one of them."
            found.append(Problem(where, line, text))
        seen.setdefault(name, line)
    return found


def _scope_faults(row: _Row) -> list[str]:
    faults = []
    if row["channel"] != ANY and not _CHANNEL.match(row["channel"]):
        faults.append(
            f"channel {shown(row['channel'])} is none; write it in lower case such as sms, or * for all."
        )
    if row["purpose"] not in (*PURPOSES, ANY):
        faults.append(f"purpose {shown(row['purpose'])} is none; write marketing, service, or * for both.")
    return faults


def _number_faults(row: _Row, columns: Sequence[str], least: int) -> list[str]:
    return [
        f"{column} {shown(row[column])} is no whole number from {least} on; leave it empty for none."
        for column in columns
        if row[column] and not (row[column].isascii() and row[column].isdigit() and int(row[column]) >= least)
    ]


def _rule_faults(row: _Row) -> list[str]:
    faults = _scope_faults(row)
    for column in ("disturbs", "needs_contact"):
        if row[column] not in ("true", "false"):
            faults.append(f"{column} {shown(row[column])} is neither true nor false.")
    if row["without_consent"] not in ("allowed", "refused"):
        faults.append(
            f"without_consent {shown(row['without_consent'])} is neither allowed nor refused; it says what holds for a "
            "user who never said anything."
        )
    for column in ("quiet_from", "quiet_until"):
        if row[column] and not _TIME.match(row[column]):
            faults.append(
                f"{column} {shown(row[column])} is no time of day; write it as HH:MM such as 21:00."
            )
    if bool(row["quiet_from"]) != bool(row["quiet_until"]):
        faults.append("Quiet hours need quiet_from and quiet_until; give both, or leave both empty.")
    elif row["quiet_from"] and row["quiet_from"] == row["quiet_until"]:
        faults.append("quiet_from and quiet_until are the same, so that nothing could ever be sent.")
    return faults + _number_faults(row, ("cool_down_days", "content_repeat_days"), 0)


def _cap_faults(row: _Row) -> list[str]:
    faults = _scope_faults(row)
    if not row["cap"]:
        faults.append("The cap has no name; name it, such as sms_week.")
    if row["period"] not in ("rolling", "week", "month"):
        faults.append(
            f"period {shown(row['period'])} is none; write rolling, week or month (of the calendar)."
        )
    if (row["period"] == "rolling") != bool(row["days"]):
        faults.append("days belongs to rolling periods and to no others.")
    if not row["max_sends"] and row["period"] != "month":
        faults.append(
            "max_sends is empty; only a month may leave it empty, for as many as the month has days."
        )
    return faults + _number_faults(row, ("days", "max_sends"), 1)
