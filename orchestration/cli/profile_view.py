"""`jingxi user`: one user, for a person in front of a terminal of 80 columns or more."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from orchestration.publishing.labels import COLUMN_LABELS, VALUE_LABELS, column_title
from orchestration.publishing.profile import (
    Activity,
    AudienceReason,
    Fact,
    Family,
    Rfm,
    RfmPart,
    TagFact,
    Touch,
    UserProfile,
)
from orchestration.specs.reasons import Reason

_WIDE = 120
_TOUCHES_SHOWN = 10
_MONEY = re.compile(r"(amount|cost|monetary)(_|\Z)")
_SHARE = re.compile(r"_(rate|share)(_\d+d)?\Z")
_AT_ONCE = dt.timedelta(minutes=30)


def show_profile(profile: UserProfile, console: Console, *, everything: bool = False, most: int = 15) -> None:
    """Print the profile. `everything` also shows facts that are zero or no; `most` is the length of the timeline."""
    is_wide = console.width >= _WIDE
    _header(profile, console)
    families = [_family(family, profile.currency, everything=everything) for family in profile.families]
    _section("档案 Profile", console)
    console.print(_beside([family for family in families if family is not None], is_wide=is_wide))
    if not everything:
        console.print(
            "[dim]Facts that are unknown, zero or no are left out; --all shows the zeros too.[/dim]"
        )
    _section("标签 Tags, and what sets them", console)
    if profile.tags:
        console.print(_tags(profile.tags, profile.currency, is_wide=is_wide))
    else:
        console.print("No tag is set.")
    _section("分层 Segments, and why", console)
    _segments(profile, console)
    _section("时间线 Timeline, newest first", console)
    if profile.timeline:
        console.print(_timeline(profile.timeline, profile.currency, most, is_wide=is_wide))
    else:
        console.print("Nothing happened in the time that is looked back.")
    _section("触达 Messages, newest first", console)
    if profile.touches:
        console.print(_touches(profile.touches[:_TOUCHES_SHOWN], is_wide=is_wide))
    else:
        console.print("No message was recorded.")
    if profile.why:
        _section(f"人群 Why {'' if profile.why.is_member else 'not '}in {profile.why.audience}", console)
        show_why(profile.why, profile.currency, console)
    for note in profile.notes:
        console.print(f"Note: {note}", markup=False)


def _section(title: str, console: Console) -> None:
    console.print()
    console.rule(f"[bold]{title}", align="left", style="dim")


def _header(profile: UserProfile, console: Console) -> None:
    name = f"{profile.name}  " if profile.name else ""
    console.print(
        Text.assemble((name, "bold"), (profile.user_id, "bold cyan"), f"  as of {profile.as_of}"),
        soft_wrap=True,
    )
    earlier = f", earlier {', '.join(profile.earlier_ids)}" if profile.earlier_ids else ""
    console.print(f"[dim]found as {', '.join(profile.found_as)}{earlier}[/dim]")
    table = _plain_table()
    for kind, found in groupby(profile.identifiers, key=lambda identifier: identifier.id_type):
        several = list(found)
        shown = ", ".join(identifier.shown for identifier in several)
        seen = max(identifier.last_seen_on for identifier in several)
        table.add_row(several[0].label, kind, escape(shown), f"[dim]last seen {seen}[/dim]")
    console.print(table)


def _fold(table: Table) -> Table:
    """Long cells go on in the next line; nothing is cut off."""
    for column in table.columns:
        column.overflow = "fold"
    return table


def _plain_table() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _family(family: Family, currency: str, *, everything: bool) -> RenderableType | None:
    shown = [fact for fact in family.facts if everything or not _is_nothing(fact.value)]
    if not shown:
        return None
    table = _plain_table()
    for fact in shown:
        table.add_row(escape(fact.label), f"[dim]{fact.title}[/dim]", escape(_value(fact, currency)))
    return Padding(Group(Text(f"{family.label} {family.title}", style="bold"), table), (0, 2, 1, 0))


def _is_nothing(value: Any) -> bool:
    return value is False or (isinstance(value, int | float | Decimal) and not value)


def _beside(parts: Sequence[RenderableType], *, is_wide: bool) -> RenderableType:
    """One below the other, or in two columns of about the same length."""
    if not is_wide:
        return Group(*parts)
    grid = Table.grid(expand=False, padding=(0, 2, 0, 0))
    left, right = list(parts[: (len(parts) + 1) // 2]), list(parts[(len(parts) + 1) // 2 :])
    grid.add_row(Group(*left), Group(*right))
    return grid


def _value(fact: Fact, currency: str) -> str:
    if fact.meaning:
        return f"{fact.meaning[0]} {fact.meaning[1]}"
    return plain_value(fact.column, fact.value, currency)


def plain_value(column: str, value: Any, currency: str) -> str:
    """A value as people write it: money with its currency, shares in percent, yes and no."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int | float | Decimal):
        if _SHARE.search(column):
            return f"{value:.1%}"
        if _MONEY.search(column):
            return f"{value:,.2f} {currency}"
        if isinstance(value, int):
            return f"{value:,}" if column != "birth_year" else str(value)
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    coded = VALUE_LABELS.get(column, {}).get(str(value))
    return f"{coded[0]} {coded[1]}" if coded else str(value)


# --- tags ---


def _tags(tags: Sequence[TagFact], currency: str, *, is_wide: bool) -> Table:
    if is_wide:
        table = Table("类别", "标签 tag", "值 value", "自 since", "至 until", "why", box=None, pad_edge=False)
    else:
        table = Table("标签 tag", "值 value", "why", box=None, pad_edge=False)
    _fold(table)
    for tag in tags:
        value = (
            "" if tag.value == "true" else f"{tag.meaning[0]} {tag.meaning[1]}" if tag.meaning else tag.value
        )
        cells = [f"{tag.label} {tag.title}", value, _tag_why(tag, currency)]
        if is_wide:
            until = str(tag.expires_on) if tag.expires_on else ""
            cells = [tag.category, *cells[:2], str(tag.set_on), until, cells[2]]
        elif tag.expires_on:
            cells[2] += f"; until {tag.expires_on}"
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _tag_why(tag: TagFact, currency: str) -> str:
    facts = f" ({tag.evidence_count:,} facts)" if tag.evidence_count > 1 else ""
    if tag.why is None:
        return f"{tag.rule}{facts}"
    return "; ".join(_condition(reason, currency) for reason in tag.why) + facts


def _condition(reason: Reason, currency: str) -> str:
    """One condition beside what was found: `Views in 30 days 浏览 7 (≥ 5)`."""
    if reason.kind == "audience":
        return f"{'in' if reason.found else 'not in'} audience {reason.subject}"
    if reason.kind == "tag" and not reason.wanted:
        return f"tag {reason.subject} {'set' if reason.found not in (None, False) else 'not set'}"
    if reason.kind == "funnel":
        return reason.subject
    if reason.kind == "activity":
        # A count of 1 equals true, and is no "yes".
        said = ("yes" if reason.found else "no") if isinstance(reason.found, bool) else reason.found
        return f"{reason.subject}: {'none' if said is None else said}"
    found = plain_value(reason.subject, reason.found, currency)
    if reason.kind in ("tag", "segment"):
        name = f"{reason.kind} {reason.subject}"
    else:
        label = COLUMN_LABELS.get(reason.subject)
        name = column_title(reason.subject) + (f" {label}" if label else "")
    wanted = f" ({reason.wanted})" if reason.wanted and reason.wanted != "= true" else ""
    return f"{name}: {found}{wanted}"


# --- segments ---


def _segments(profile: UserProfile, console: Console) -> None:
    for column in ("lifecycle_stage", "activity_stage"):
        fact = profile.fact(column)
        if fact:
            console.print(Text.assemble((f"{fact.label} {fact.title}: ", "bold"), _value(fact, "")))
            console.print(f"  {_stage_reason(profile, column)}", style="dim")
    if profile.rfm:
        console.print(_rfm(profile.rfm, profile.currency))
    else:
        console.print(
            Text.assemble(("RFM: ", "bold"), "no cell; only buyers whose money is not all refunded have one.")
        )
    if not profile.audiences:
        console.print(Text.assemble(("人群 Audiences: ", "bold"), "none"))
        return
    table = Table("人群 audience", "", "自 since", "", box=None, pad_edge=False)
    for member in profile.audiences:
        held = "held out: gets no message" if member.is_held_out else ""
        table.add_row(member.audience, escape(f"{member.label} {member.title}"), str(member.entered_on), held)
    console.print(table)


def _stage_reason(profile: UserProfile, column: str) -> str:
    def text(name: str, empty: str) -> str:
        fact = profile.fact(name)
        return plain_value(name, fact.value, profile.currency) if fact else empty

    first = f"first seen {text('first_seen_date', 'unknown')}"
    if column == "lifecycle_stage":
        return f"{first}, ordered on {text('order_days_count', '0')} days"
    return f"{first}, last active {text('last_active_date', 'never')}"


def _rfm(rfm: Rfm, currency: str) -> RenderableType:
    table = _plain_table()
    names = {
        "recency_days": ("R", "days since the last order"),
        "frequency": ("F", "order days"),
        "monetary": ("M", "money"),
    }
    for part in rfm.parts:
        letter, meaning = names[part.metric]
        if part.metric == "frequency" and "frequency=orders" in rfm.method:
            meaning = "orders"
        value = plain_value(part.metric, part.value, currency)
        table.add_row(
            f"  {letter}", f"{value} {meaning}" if part.metric != "monetary" else value, *_verdict(part)
        )
    strategy = " ".join(text for text in (rfm.strategy_zh, rfm.strategy_en) if text)
    return Group(
        Text.assemble(("RFM: ", "bold"), f"{rfm.label} {rfm.title} ({rfm.cell})"),
        table,
        Text(f"  {strategy}", style="dim"),
    )


def _verdict(part: RfmPart) -> tuple[str, str]:
    high = "[green]high[/green]" if part.is_high else "[yellow]low[/yellow]"
    against = f"{part.compared} {part.against}" if part.against is not None else "its bound"
    return f"score {part.score}", f"{high}, against {against}"


# --- what happened ---


def _timeline(timeline: Sequence[Activity], currency: str, most: int, *, is_wide: bool) -> Table:
    table = _plain_table()
    runs = _runs(timeline)
    for run in runs[:most]:
        first = run[0]
        times = f" ×{len(run)}" if len(run) > 1 else ""
        about = ", ".join(dict.fromkeys(entry.about for entry in run if entry.about))
        about = about if len(about) <= 60 else f"{about[:57]}…"
        if first.activity == "order_refunded" or first.amount:
            money = sum((entry.amount or Decimal(0) for entry in run), Decimal(0))
            about = ", ".join(part for part in (f"{money:,.2f} {currency}", about) if part)
        where = " · ".join(part for part in (first.channel, first.touchpoint) if part)
        cells = [f"{first.at:%Y-%m-%d %H:%M}", f"{first.label} {first.title}{times}", about]
        if is_wide:
            cells += [where, f"campaign {first.campaign}" if first.campaign else ""]
        table.add_row(*(escape(cell) for cell in cells))
    if len(runs) > most:
        table.add_row("", f"[dim]and {len(runs) - most} more; --timeline shows them[/dim]")
    return table


def _runs(timeline: Sequence[Activity]) -> list[list[Activity]]:
    """Equal activities of one day in a row become one line. An order's placing and its lines go into its payment."""
    paid = [entry for entry in timeline if entry.activity == "order_paid"]

    def belongs(entry: Activity) -> bool:
        near = [one for one in paid if abs(one.at - entry.at) <= _AT_ONCE]
        if entry.activity == "order_placed":
            return any(one.amount == entry.amount for one in near)
        return entry.activity == "item_paid" and any(one.at == entry.at for one in near)

    lines = {
        one.at: [entry.about for entry in timeline if entry.activity == "item_paid" and entry.at == one.at]
        for one in paid
    }
    runs: list[list[Activity]] = []
    for entry in timeline:
        if belongs(entry):
            continue
        last = runs[-1][0] if runs else None
        named = _with_lines(entry, lines[entry.at]) if entry.activity == "order_paid" else entry
        same = last is not None and (last.activity, last.at.date(), last.channel) == (
            named.activity,
            named.at.date(),
            named.channel,
        )
        if same and named.activity != "order_paid":
            runs[-1].append(named)
        else:
            runs.append([named])
    return runs


def _with_lines(order: Activity, products: Iterable[str | None]) -> Activity:
    names = ", ".join(dict.fromkeys(name for name in products if name))
    return Activity(**{**vars(order), "about": names or order.about})


def _touches(touches: Sequence[Touch], *, is_wide: bool) -> Table:
    table = _plain_table()
    for touch in touches:
        about = ", ".join(part for part in (touch.campaign, touch.about) if part)
        reached = " → ".join(f"{status} {at:%m-%d %H:%M}" for status, at in touch.reached.items())
        cells = [f"{touch.at:%Y-%m-%d %H:%M}", touch.channel or "", f"{touch.label} {touch.title}", about]
        table.add_row(*(escape(cell) for cell in (*cells, *([reached] if is_wide else []))))
    return table


# --- why an audience ---


def show_why(why: AudienceReason, currency: str, console: Console) -> None:
    """Print which conditions of an audience hold for the user and which do not."""
    verdict = "[green]is in[/green]" if why.is_member else "[yellow]is not in[/yellow]"
    console.print(f"The user {verdict} {escape(why.title)} ({why.audience}).")
    tree = Tree("Conditions", hide_root=True, guide_style="dim")
    _branch(tree, why.meets, currency)
    console.print(tree)
    for reason, rule in why.suppressed:
        held = "[red]left out[/red]" if rule.holds else "[green]not left out[/green]"
        tree = Tree(f"{held} for {escape(reason)}", guide_style="dim")
        _branch(tree, rule, currency)
        console.print(tree)
    for note in why.notes:
        console.print(f"Note: {note}", markup=False)


def _branch(tree: Tree, reason: Reason, currency: str) -> None:
    mark = "[green]✓[/green]" if reason.holds else "[red]✗[/red]"
    if not reason.parts:
        tree.add(f"{mark} {escape(_condition(reason, currency))}")
        return
    words = {"all": "all of these", "any": "at least one of these", "not": "not this"}[reason.kind]
    branch = tree.add(f"{mark} {words}")
    for part in reason.parts:
        _branch(branch, part, currency)
