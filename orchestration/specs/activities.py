"""What rules may say about activities: their names, and the columns that a condition on them reads."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from orchestration.specs.catalog import Column, ValueType
from orchestration.specs.documents import Problem, nearest, shown

_NAME = re.compile(r"[a-z0-9_]+\Z")


def _columns(*declared: tuple[str, ValueType, str, str]) -> dict[str, Column]:
    return {name: Column(name, kind, sql_type, text) for name, kind, sql_type, text in declared}


ACTIVITY_COLUMNS: Mapping[str, Column] = _columns(
    ("channel", ValueType.TEXT, "varchar", "Channel of the activity"),
    ("touchpoint", ValueType.TEXT, "varchar", "Touchpoint of the activity"),
    ("session_id", ValueType.TEXT, "varchar", "Session of the activity"),
    ("product_id", ValueType.TEXT, "varchar", "Product"),
    ("content_id", ValueType.TEXT, "varchar", "Content"),
    ("campaign_id", ValueType.TEXT, "varchar", "Campaign"),
    ("amount", ValueType.NUMBER, "decimal", "Amount"),
)
"""Columns of int_activity that filters, breakdowns and `hold_constant` of funnels may name."""

# Name of an attribute → table that has it, its column there, the column of int_activity that leads to it, its meaning.
ATTRIBUTES: Mapping[str, tuple[str, str, str, str]] = {
    "category_l1": ("products", "category_l1", "product_id", "First-level category of the product"),
    "category_l2": ("products", "category_l2", "product_id", "Second-level category of the product"),
    "category_l3": ("products", "category_l3", "product_id", "Third-level category of the product"),
    "brand": ("products", "brand", "product_id", "Brand of the product"),
    "style": ("products", "style", "product_id", "Style of the product"),
    "topic": ("contents", "topic", "content_id", "Topic of the content"),
    "content_style": ("contents", "style", "content_id", "Style of the content"),
    "content_format": ("contents", "format", "content_id", "Format of the content"),
    "campaign_kind": ("campaigns", "kind", "campaign_id", "Kind of the campaign"),
}
EVENT_COLUMNS: Mapping[str, Column] = {
    name: column for name, column in ACTIVITY_COLUMNS.items() if name != "session_id"
} | _columns(*((name, ValueType.TEXT, "varchar", text) for name, (_, _, _, text) in ATTRIBUTES.items()))
"""Columns of user_activities: what a condition on activities may name."""

# Activities that tables other than `events` bring (models int_activity__dealings and int_activity__kinds).
_OF_TABLES = (
    *("order_placed", "order_paid", "item_paid", "order_refunded"),
    *(
        "contact_added",
        "contact_deleted",
        "contact_blocked",
        "member_registered",
        "group_joined",
        "group_left",
    ),
    *("coupon_issued", "coupon_used", "coupon_expired"),
    *("lead_created", "lead_mql", "lead_sql", "lead_won", "lead_lost"),
    *("referral_invited", "referral_joined", "survey_answered", "manual_tag_set", "manual_tag_cleared"),
    *("experiment_assigned", "consent_granted", "consent_withdrawn", "erasure_requested"),
    *("touch_planned", "touch_sent", "touch_delivered", "touch_opened", "touch_clicked", "touch_replied"),
    *("touch_converted", "touch_failed", "touch_unsubscribed"),
)


def read_activities(seeds_dir: Path) -> tuple[str, ...]:
    """Names of all activities: those of the tables, and those of events in rules/event_names.csv below `seeds_dir`."""
    try:
        with (seeds_dir / "rules" / "event_names.csv").open(encoding="utf-8", newline="") as lines:
            declared = [row["activity"] for row in csv.DictReader(lines) if row.get("activity")]
    except FileNotFoundError:
        declared = []
    return tuple(dict.fromkeys([*(name for name in declared if _NAME.match(name)), *_OF_TABLES]))


def unknown_activity(name: object, known: Collection[str]) -> str:
    """Sentence on a name that is no activity: the nearest one, and how to declare a brand's own event."""
    return (
        f"there is no activity {shown(name)} in the input tables or seeds/rules/event_names.csv; {nearest(name, known)} "
        "An event of your own needs a row in that file, such as spin_wheel,spin_wheel."
    )


# Files of seeds/rules that name activities: file, column, and the condition on other columns under which it does.
_RULE_FILES: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("passive_activities.csv", "activity", {}),
    ("interest_strengths.csv", "activity", {}),
    ("aipl_behaviours.csv", "behaviour", {"kind": "activity"}),
)


def activity_problems(seeds_dir: Path, known: Collection[str]) -> list[Problem]:
    """Rows of the rules that name an activity which nothing brings; a file that is not there is not wrong."""
    problems = []
    for name, column, condition in _RULE_FILES:
        try:
            with (seeds_dir / "rules" / name).open(encoding="utf-8", newline="") as lines:
                reader = csv.DictReader(lines)
                for row in reader:
                    counts = all(row.get(other) == value for other, value in condition.items())
                    if counts and row.get(column) is not None and row[column] not in known:
                        text = unknown_activity(row[column], known)
                        problems.append(
                            Problem(f"seeds/rules/{name}", reader.line_num, f"{text[:1].upper()}{text[1:]}")
                        )
        except FileNotFoundError:
            continue
    return problems
